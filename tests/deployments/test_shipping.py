"""Shipping: announced, uploaded within bounds, finalized once."""

import pytest
from django.core.files.storage import default_storage

from apps.core.errors import Forbidden, Invalid, NotFound
from apps.deployments import policy, queries
from apps.deployments.errors import ArchiveTooLarge, DeploymentClosed
from apps.deployments.models import Deployment
from apps.deployments.operations.shipping import (
    cancel_deployment,
    create_deployment,
    finalize_deployment,
    receive_archive,
)
from apps.orgs.models import AuditEntry
from apps.orgs.roles import Role
from tests import factories
from tests.deployments.projects import finalized, project, sha256_of, uploaded
from tests.factories import NOW, acme, alice, charlies_scope, user_scope

pytestmark = pytest.mark.django_db


def receive(scope, deployment, *chunks):
    return receive_archive(scope, deployment_id=deployment.id, chunks=chunks, now=NOW)


def test_a_deployment_is_announced_with_a_name_that_people_can_say():
    deployment = create_deployment(
        acme().scope, content_hash="h", git={"commit": "c0ffee"}, python_version="3.12", now=NOW
    )
    kept = queries.get_deployment(acme().scope, deployment.id)
    assert (kept.status, kept.content_hash, kept.git) == ("PENDING", "h", {"commit": "c0ffee"})
    assert len(kept.short_code) == 8
    assert AuditEntry.objects.filter(action="deployment.created").count() == 1


def test_development_is_not_deployed_to():
    with pytest.raises(Invalid, match="holdfast dev"):
        create_deployment(factories.key_scope(acme().development), now=NOW)


def test_an_archive_is_stored_whole_with_its_hash():
    files = project()
    deployment = uploaded(acme().scope, files)
    assert deployment.archive == f"archives/{deployment.environment_id}/{deployment.id}.tar.gz"
    assert deployment.archive_sha256 == sha256_of(files)
    assert default_storage.size(deployment.archive) == deployment.archive_bytes


def test_a_second_upload_replaces_the_first():
    deployment = uploaded(acme().scope, project())
    receive(acme().scope, deployment, b"other", b" bytes")
    with default_storage.open(deployment.archive) as stored:
        assert stored.read() == b"other bytes"


def test_an_archive_over_the_limit_is_refused_while_it_streams_and_leaves_nothing(monkeypatch):
    monkeypatch.setattr(policy, "ARCHIVE_BYTES", 100)
    deployment = create_deployment(acme().scope, now=NOW)

    def endless():
        while True:
            yield b"x" * 60

    with pytest.raises(ArchiveTooLarge, match="ignore"):
        receive_archive(acme().scope, deployment_id=deployment.id, chunks=endless(), now=NOW)
    assert not default_storage.exists(policy.archive_name(deployment.environment_id, deployment.id))
    assert Deployment.objects.get().archive == ""


def test_an_upload_that_breaks_off_leaves_the_deployment_as_it_was():
    deployment = create_deployment(acme().scope, now=NOW)

    def broken():
        yield b"half"
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        receive_archive(acme().scope, deployment_id=deployment.id, chunks=broken(), now=NOW)
    assert Deployment.objects.get().archive == ""


def test_an_empty_archive_is_refused():
    with pytest.raises(Invalid, match="empty"):
        receive(acme().scope, create_deployment(acme().scope, now=NOW))


def test_finalizing_needs_the_archive_and_happens_once(django_capture_on_commit_callbacks):
    scope = acme().scope
    deployment = create_deployment(scope, now=NOW)
    with pytest.raises(Invalid, match="Upload"):
        finalize_deployment(scope, deployment_id=deployment.id, now=NOW)
    receive(scope, deployment, b"bytes")
    with django_capture_on_commit_callbacks() as told:
        first = finalize_deployment(scope, deployment_id=deployment.id, promote=False, now=NOW)
        again = finalize_deployment(scope, deployment_id=deployment.id, promote=True, now=NOW)
    assert (first.status, again.promote) == ("BUILDING", False)
    assert len(told) == 1


def test_after_finalizing_no_other_archive_is_taken():
    deployment = finalized(acme().scope, project())
    with pytest.raises(DeploymentClosed):
        receive(acme().scope, deployment, b"other")


def test_a_canceled_deployment_is_closed_and_its_archive_goes(django_capture_on_commit_callbacks):
    scope = acme().scope
    deployment = uploaded(scope, project())
    with django_capture_on_commit_callbacks(execute=True):
        cancel_deployment(scope, deployment_id=deployment.id, now=NOW)
        cancel_deployment(scope, deployment_id=deployment.id, now=NOW)
    assert not default_storage.exists(deployment.archive)
    with pytest.raises(DeploymentClosed):
        finalize_deployment(scope, deployment_id=deployment.id, now=NOW)


def test_deployments_are_listed_newest_first_from_a_cursor_on():
    scope = acme().scope
    first, second, third = [create_deployment(scope, now=NOW) for _ in range(3)]
    assert queries.list_deployments(scope, size=2) == [third, second]
    assert queries.list_deployments(scope, before=second.id) == [first]
    assert queries.list_deployments(scope, status="FAILED") == []
    with pytest.raises(NotFound, match="Nothing has been deployed"):
        queries.get_current_deployment(scope)


def test_charlie_reaches_no_deployment_of_acme():
    deployment, charlie = uploaded(acme().scope, project()), charlies_scope()
    for attempt in (
        lambda: queries.get_deployment(charlie, deployment.id),
        lambda: receive(charlie, deployment, b"evil"),
        lambda: finalize_deployment(charlie, deployment_id=deployment.id, now=NOW),
        lambda: cancel_deployment(charlie, deployment_id=deployment.id, now=NOW),
    ):
        with pytest.raises(NotFound):
            attempt()
    assert queries.list_deployments(charlie) == []


def test_a_viewer_may_look_but_not_ship():
    viewer = user_scope(acme().production, alice(), Role.VIEWER)
    deployment = uploaded(acme().scope, project())
    assert queries.get_deployment(viewer, deployment.id) == deployment
    with pytest.raises(Forbidden):
        create_deployment(viewer, now=NOW)
    with pytest.raises(Forbidden):
        receive(viewer, deployment, b"x")
