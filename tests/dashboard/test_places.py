"""Where a visit begins, and how one goes from place to place."""

from __future__ import annotations

import re

import pytest

from apps.dashboard.places import parse, spell
from apps.environments.access import place_of_user
from apps.orgs.roles import Role
from tests import factories
from tests.dashboard.pages import at, links, text
from tests.factories import NOW

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("env", "branch", "segment"),
    [
        ("prod", None, "prod"),
        ("preview", "main", "preview~main"),
        ("preview", "feature/cart@2", "preview~feature:cart@2"),
    ],
)
def test_an_environment_is_one_segment_of_the_path(env, branch, segment):
    assert spell(env, branch) == segment
    assert parse(segment) == (env, branch)


def test_a_first_visit_leads_to_production(visit):
    assert visit().get("/").headers["Location"] == at("runs")


def test_a_later_visit_leads_to_where_one_was(visit):
    client = visit()
    assert client.get(at("tasks", env="staging")).status_code == 200
    assert client.get("/").headers["Location"] == at("runs", env="staging")


@pytest.mark.parametrize(
    "cookie", ["globex/globex-shop/prod", "a/b", "acme/acme-shop/moon", "é/\0/x"]
)
def test_a_place_that_is_not_or_no_longer_theirs_is_forgotten(visit, cookie):
    factories.globex()
    client = visit()
    client.cookies["place"] = cookie
    assert client.get("/").headers["Location"] == at("runs")


def test_whoever_belongs_nowhere_is_welcomed(visit):
    client = visit(factories.person("erin"))
    response = client.get("/", follow=True)
    assert response.status_code == 200
    assert response.redirect_chain


def test_a_visit_begins_with_signing_in(client, acme):
    response = client.get(at("runs"))
    assert response.status_code == 302
    assert response.headers["Location"].endswith(f"next={at('runs')}")


def test_a_place_is_one_query_and_knows_the_role(acme, viewer, django_assert_num_queries):
    with django_assert_num_queries(1):
        place = place_of_user(viewer, "acme", "acme-shop", "prod", None, now=NOW)
    assert (place.scope.actor.id, place.scope.actor.role) == (viewer.id, Role.VIEWER)
    assert place.scope.environment_id == acme.production.id


def test_ones_own_development_environment_is_made_by_the_first_visit(acme, visit):
    client = visit(factories.bob())
    assert client.get(at("runs", env="dev")).status_code == 200
    bobs = acme.project.environments.filter(owner=factories.bob())
    assert bobs.count() == 1
    assert bobs.get() != acme.development


def test_a_viewer_has_no_development_environment(visit, viewer):
    assert visit(viewer).get(at("runs", env="dev")).status_code == 403


def test_a_branch_has_an_address(acme, visit):
    factories.branch(acme, "feature/cart")
    response = visit().get(at("runs", env="preview~feature:cart"))
    assert response.status_code == 200
    assert visit().get(at("runs", env="preview~gone")).status_code == 404


def test_the_switchers_name_what_is_theirs(acme, visit):
    factories.globex()
    factories.branch(acme, "feature/cart")
    client = visit()
    projects = client.get(at("switcher"))
    assert "Acme shop" in text(projects)
    assert "Globex" not in text(projects)
    environments = links(client.get(at("environments") + "?section=tasks"))
    assert at("tasks", env="preview~feature:cart") in environments
    assert at("tasks", env="dev") in environments


def test_an_unknown_section_of_the_switcher_is_the_runs(visit):
    assert at("runs") in links(visit().get(at("environments") + "?section=../../admin"))


def test_a_refusal_is_a_page_that_says_why(visit, viewer):
    response = visit(viewer).get(at("test"))
    assert response.status_code == 403
    assert "You may not do this" in text(response)
    missing = visit().get(at("runs", project="nothing"))
    assert missing.status_code == 404
    assert "Nothing is here" in text(missing)


def test_a_paused_environment_says_so(acme, visit):
    acme.production.paused_at = NOW
    acme.production.save()
    assert "This environment is paused" in text(visit().get(at("runs")))


def test_the_palette_finds_pages_tasks_and_environments(acme, shipped, visit, viewer):
    entries = visit().get(at("palette")).json()["entries"]
    found = {(entry["kind"], entry["title"], entry["href"]) for entry in entries}
    assert ("Pages", "Runs", at("runs")) in found
    assert ("Tasks", "resize", at("tasks/resize")) in found
    assert ("Tasks", "resize", f"{at('test')}?task=resize") in found
    assert ("Environments", "Staging", at("runs", env="staging")) in found
    seen = visit(viewer).get(at("palette")).json()["entries"]
    assert not any(entry["href"].startswith(at("test")) for entry in seen)


def test_the_help_lists_the_keys_that_the_links_have(acme, shipped, visit, viewer):
    """The letters lead one way each, and walk no list; whoever may not see a page has no key."""
    for user, has_keys in ((None, True), (viewer, False)):
        page = visit(user).get(at("runs")).content.decode()
        links = re.findall(r'data-key="g (\w)"', page)
        help_ = page[page.index('id="shortcuts"') :]
        listed = re.findall(r'<kbd class="kbd" >G</kbd><kbd class="kbd" >(\w)</kbd>', help_)
        assert [letter.upper() for letter in links] == listed
        assert len(set(links)) == len(links) > 8
        assert set(links).isdisjoint("jkx")
        assert ("y" in links) is has_keys
