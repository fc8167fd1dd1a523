"""Organizations and projects, for the people who are in them."""

import pytest

from apps.orgs.models import AuditEntry, Membership, Organization
from apps.orgs.roles import Role
from apps.projects.models import Project
from tests import factories
from tests.api.client import Api

ORG = "/api/v1/orgs/acme"


@pytest.fixture
def bob(acme):
    """A developer at Acme, by a personal token."""
    return Api(factories.personal_token(factories.bob()))


def test_whoever_founds_an_organization_owns_it_and_has_a_project(alice):
    made = alice.post("/api/v1/orgs", {"title": "Initech", "projectName": "Reports"}).ok()

    assert (made["name"], made["organization"]["slug"]) == ("Reports", "initech")
    assert alice.get("/api/v1/orgs/initech").ok()["role"] == "owner"
    assert [o["title"] for o in alice.get("/api/v1/orgs").ok()] == ["Acme", "Initech"]
    assert [e["slug"] for e in alice.get(f"{project_path(made)}/environments").ok()] == [
        "prod", "staging", "preview",
    ]  # fmt: skip


def test_a_first_project_needs_no_name(alice):
    assert alice.post("/api/v1/orgs", {"title": "Initech"}).ok()["name"] == "My project"


@pytest.mark.parametrize("title", ["", " ", "x" * 101])
def test_an_organization_needs_a_name_of_some_length(alice, title):
    assert alice.post("/api/v1/orgs", {"title": title}).status in (400, 422)


def test_an_organization_is_renamed_and_keeps_its_slug(alice, bob):
    renamed = alice.patch(ORG, {"title": "Acme Inc"}).ok()

    assert (renamed["title"], renamed["slug"]) == ("Acme Inc", "acme")
    assert bob.patch(ORG, {"title": "Bobs"}).status == 403
    assert AuditEntry.objects.filter(action="organization.renamed").count() == 1


def test_leaving_ends_with_the_last_owner(alice, bob, acme):
    assert bob.delete(f"{ORG}/membership").ok() == {"success": True}
    assert bob.get(ORG).status == 404
    answer = alice.delete(f"{ORG}/membership")
    assert (answer.status, answer.body["code"]) == (409, "last_owner")
    assert [m.user for m in Membership.objects.filter(organization=acme.organization)] == [
        factories.alice()
    ]


def test_only_an_owner_takes_an_organization_away(alice, bob, acme):
    assert bob.delete(ORG).status == 403
    assert alice.delete(ORG).ok() == {"success": True}
    assert alice.get(ORG).status == 404
    assert Organization.objects.get(pk=acme.organization.pk).deleted_at
    assert Api(acme.secret).get("/api/v1/runs").status == 401


def test_a_project_through_its_life(alice, bob):
    made = alice.post(f"{ORG}/projects", {"name": "Warehouse"}).ok()
    path = project_path(made)

    assert alice.patch(path, {"name": "Depot"}).ok()["slug"] == "warehouse"
    assert [p["name"] for p in bob.get(f"{ORG}/projects").ok()] == ["Acme shop", "Depot"]
    assert [p["name"] for p in bob.get("/api/v1/projects").ok()] == ["Acme shop", "Depot"]
    assert bob.get(path).ok()["organization"]["title"] == "Acme"
    assert bob.patch(path, {"name": "Mine"}).status == 403
    assert bob.delete(path).status == 403
    assert alice.delete(path).ok() == {"success": True}
    assert alice.get(path).status == 404
    assert Project.objects.get(ref=made["externalRef"]).archived_at
    actions = AuditEntry.objects.filter(target_type="project").order_by("id")
    assert [entry.action for entry in actions][-3:] == [
        "project.created", "project.renamed", "project.archived",
    ]  # fmt: skip


def test_a_list_of_projects_asks_once(alice, django_assert_max_num_queries):
    for name in ("One", "Two", "Three"):
        alice.post(f"{ORG}/projects", {"name": name}).ok()
    with django_assert_max_num_queries(4):
        assert len(alice.get(f"{ORG}/projects").ok()) == 4


def test_a_viewer_starts_no_project(acme):
    vera = factories.person("vera")
    factories.member(acme.organization, vera, Role.VIEWER)

    assert Api(factories.personal_token(vera)).post(f"{ORG}/projects", {"name": "x"}).status == 403


def test_a_key_is_nobodys_member(api):
    for path in ("/api/v1/orgs", ORG, f"{ORG}/projects", "/api/v1/projects"):
        assert api.get(path).status == 401


def test_charlie_finds_nothing_of_acme(charlie_in_person, acme):
    path = f"/api/v1/projects/{acme.project.ref}"

    assert [o["slug"] for o in charlie_in_person.get("/api/v1/orgs").ok()] == ["globex"]
    assert [p["name"] for p in charlie_in_person.get("/api/v1/projects").ok()] == ["Globex shop"]
    for answer in (
        charlie_in_person.get(ORG),
        charlie_in_person.patch(ORG, {"title": "Mine"}),
        charlie_in_person.delete(ORG),
        charlie_in_person.delete(f"{ORG}/membership"),
        charlie_in_person.post(f"{ORG}/projects", {"name": "Mine"}),
        charlie_in_person.get(path),
        charlie_in_person.patch(path, {"name": "Mine"}),
        charlie_in_person.delete(path),
    ):
        assert answer.status == 404


def project_path(project):
    return f"/api/v1/projects/{project['externalRef']}"
