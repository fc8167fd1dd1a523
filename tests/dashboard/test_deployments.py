"""What has been shipped: the list, one deployment, promotion and rollback."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from apps.core.ids import public_id
from apps.dashboard import cursors
from apps.dashboard.views import deployments as views
from apps.deployments.models import Deployment, DeploymentStatus, Promotion
from apps.deployments.operations.shipping import create_deployment
from tests.dashboard.pages import at, links, text
from tests.factories import NOW
from tests.runs.engine import version

pytestmark = pytest.mark.django_db


def deployed(tenant, number: str, *, promote: bool = True) -> Deployment:
    made = create_deployment(tenant.scope, content_hash=number, now=NOW)
    Deployment.objects.filter(pk=made.pk).update(
        status=DeploymentStatus.DEPLOYED,
        version=version(tenant.production, "hello", number=number, promote=promote),
        deployed_at=NOW,
        finished_at=NOW + timedelta(seconds=42),
        log="Collecting\nDone\n",
        git={"commitSha": "9f2c1e4d8a", "commitMessage": "Mend it", "commitRef": "main"},
    )
    made.refresh_from_db()
    return made


def failed(tenant) -> Deployment:
    made = create_deployment(tenant.scope, content_hash="bad", now=NOW)
    error = {"name": "ResolutionError", "message": "no such package"}
    Deployment.objects.filter(pk=made.pk).update(
        status=DeploymentStatus.FAILED, finished_at=NOW, error=error
    )
    return made


def page_of(deployment: Deployment, part: str = "") -> str:
    return at(f"deployments/{public_id('deployment', deployment.pk)}{part}")


def current(tenant) -> str:
    return Promotion.objects.get(environment=tenant.production).version.number


def test_deployments_are_listed_newest_first_and_the_current_one_is_marked(acme, visit):
    old, new = deployed(acme, "20261124.1"), deployed(acme, "20261124.2")
    response = visit().get(at("deployments"))
    said = text(response)
    assert said.index("20261124.2 Current") < said.index("20261124.1")
    assert said.count("Current") == 1
    assert "9f2c1e4" in said
    assert {page_of(old), page_of(new)} <= set(links(response))


def test_deployments_may_be_filtered_by_status(acme, visit):
    deployed(acme, "20261124.1"), failed(acme)
    client = visit()
    assert len(client.get(at("deployments?status=FAILED")).context["deployments"]) == 1
    assert len(client.get(at("deployments?status=MOON")).context["deployments"]) == 2
    assert "No deployment is like that" in text(client.get(at("deployments?status=CANCELED")))


def test_pages_lead_to_older_deployments(acme, visit, monkeypatch):
    monkeypatch.setattr(cursors, "_SIZE", 2)
    made = [failed(acme) for _ in range(3)][::-1]
    client = visit()
    first = client.get(at("deployments"))
    (older,) = {link for link in links(first) if "after=" in link}
    second = client.get(at("deployments") + older)
    assert [each.pk for each in second.context["deployments"]] == [made[2].pk]


@pytest.mark.parametrize(
    ("env", "said"), [("prod", "holdfast deploy --env prod"), ("dev", "holdfast dev")]
)
def test_an_empty_list_teaches(visit, env, said):
    assert said in text(visit().get(at("deployments", env=env)))


def test_one_shows_its_tasks_its_log_and_where_it_came_from(acme, visit):
    response = visit().get(page_of(deployed(acme, "20261124.1")))
    said = text(response)
    for word in (
        "Version 20261124.1",
        "Deployed",
        "Current",
        "hello",
        "Collecting Done",
        "Mend it",
    ):
        assert word in said
    assert "Roll back" not in said


def test_a_failure_is_explained_and_what_it_means_for_runs(acme, visit):
    deployed(acme, "20261124.1")
    said = text(visit().get(page_of(failed(acme))))
    assert "ResolutionError" in said
    assert "no such package" in said
    assert "Nothing has changed for runs: new ones get version 20261124.1" in said


def test_an_older_version_may_be_rolled_back_to(acme, visit):
    old = deployed(acme, "20261124.1")
    deployed(acme, "20261124.2")
    client = visit()
    assert "Roll back to version 20261124.1?" in text(client.get(page_of(old)))
    response = client.post(page_of(old, "/promotion"))
    assert response.headers["Location"] == page_of(old)
    assert current(acme) == "20261124.1"


def test_a_newer_version_may_be_promoted(acme, visit):
    deployed(acme, "20261124.1")
    new = deployed(acme, "20261124.2", promote=False)
    client = visit()
    assert "Promote version 20261124.2?" in text(client.get(page_of(new)))
    client.post(page_of(new, "/promotion"))
    assert current(acme) == "20261124.2"


def test_what_has_no_version_cannot_be_promoted(acme, visit):
    deployed(acme, "20261124.1")
    response = visit().post(page_of(failed(acme), "/promotion"))
    assert response.status_code == 409
    assert "This deployment has made no version" in text(response)
    assert current(acme) == "20261124.1"


def test_a_deployment_that_is_not_done_may_be_canceled_and_keeps_its_page_fresh(acme, visit):
    pending = create_deployment(acme.scope, content_hash="new", now=NOW)
    client = visit()
    page = client.get(page_of(pending))
    assert "Cancel this deployment?" in text(page)
    assert 'hx-trigger="every 3s"' in page.getvalue().decode()
    client.post(page_of(pending, "/cancellation"))
    pending.refresh_from_db()
    assert pending.status == DeploymentStatus.CANCELED
    assert 'hx-trigger="every 3s"' not in client.get(page_of(pending)).getvalue().decode()


def test_a_viewer_sees_but_changes_nothing(acme, visit, viewer):
    old = deployed(acme, "20261124.1")
    deployed(acme, "20261124.2")
    client = visit(viewer)
    assert "Roll back" not in text(client.get(page_of(old)))
    assert client.post(page_of(old, "/promotion")).status_code == 403
    assert client.post(page_of(old, "/cancellation")).status_code == 403
    assert current(acme) == "20261124.2"


def test_the_end_of_a_long_log_is_shown(acme, visit, monkeypatch):
    monkeypatch.setattr(views, "_SHOWN_LOG", 5)
    said = text(visit().get(page_of(deployed(acme, "20261124.1"))))
    assert "The end of a long log." in said
    assert "Collecting" not in said


def test_deployments_are_exported(acme, visit):
    deployed(acme, "20261124.1")
    client = visit()
    (row,) = json.loads(client.get(at("deployments?export=json")).content)
    assert (row["version"], row["commit"]) == ("20261124.1", "9f2c1e4d8a")
    assert "20261124.1" in client.get(at("deployments?export=csv")).content.decode()


def test_the_number_of_queries_does_not_depend_on_the_number_of_deployments(
    acme, visit, django_assert_num_queries
):
    one = deployed(acme, "20261124.1")
    client = visit()
    client.get(at("deployments"))
    for number in range(2, 5):
        deployed(acme, f"20261124.{number}")
        with django_assert_num_queries(5):  # session, person, place, deployments, current
            client.get(at("deployments"))
    with django_assert_num_queries(6):  # session, person, place, deployment, current, tasks
        client.get(page_of(one))
