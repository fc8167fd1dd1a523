"""Projects are created, renamed, archived, and found by their ref."""

import pytest

from apps.core.errors import Forbidden, Invalid, NotFound
from apps.orgs.models import AuditEntry
from apps.projects.operations import archive_project, create_project, rename_project
from apps.projects.queries import find_project_of, get_project, list_projects, list_projects_of
from tests.factories import NOW, acme, alice, bob, charlie, globex, organization_as

pytestmark = pytest.mark.django_db


def test_a_project_gets_a_ref_and_a_slug():
    made = create_project(organization_as(acme(), alice()), name="Web Shop", now=NOW)
    assert made.ref.startswith("proj_")
    assert made.slug == "web-shop"
    entry = AuditEntry.objects.order_by("-id")[0]
    assert (entry.action, entry.target_id) == ("project.created", str(made.id))


def test_a_second_one_of_the_same_name_gets_another_slug():
    within = organization_as(acme(), alice())
    first = create_project(within, name="Web", now=NOW)
    second = create_project(within, name="Web", now=NOW)
    assert first.slug != second.slug
    assert first.ref != second.ref


def test_two_organizations_may_have_the_same_slug():
    made = [
        create_project(organization_as(acme(), alice()), name="Web", now=NOW),
        create_project(organization_as(globex(), charlie()), name="Web", now=NOW),
    ]
    assert [project.slug for project in made] == ["web", "web"]


@pytest.mark.parametrize("name", ["", "\0", "x" * 101])
def test_a_project_needs_a_name(name):
    with pytest.raises(Invalid):
        create_project(organization_as(acme(), alice()), name=name, now=NOW)


def test_a_rename_keeps_ref_and_slug():
    tenant = acme()
    within = organization_as(tenant, alice())
    renamed = rename_project(within, project_id=tenant.project.id, name="Shop 2", now=NOW)
    assert renamed.name == "Shop 2"
    assert (renamed.ref, renamed.slug) == (tenant.project.ref, tenant.project.slug)


def test_an_archived_project_is_gone_and_its_slug_is_free():
    tenant = acme()
    within = organization_as(tenant, alice())
    archive_project(within, project_id=tenant.project.id, now=NOW)
    assert list_projects(within) == []
    with pytest.raises(NotFound):
        get_project(within, tenant.project.ref)
    with pytest.raises(NotFound):
        archive_project(within, project_id=tenant.project.id, now=NOW)
    again = create_project(within, name=tenant.project.name, now=NOW)
    assert again.slug == tenant.project.slug


def test_a_developer_changes_no_project():
    tenant = acme()
    within = organization_as(tenant, bob())
    with pytest.raises(Forbidden):
        create_project(within, name="Bob's", now=NOW)
    with pytest.raises(Forbidden):
        rename_project(within, project_id=tenant.project.id, name="Bob's", now=NOW)
    with pytest.raises(Forbidden):
        archive_project(within, project_id=tenant.project.id, now=NOW)


def test_charlie_neither_finds_nor_changes_a_project_of_alice():
    tenant, his = acme(), organization_as(globex(), charlie())
    with pytest.raises(NotFound):
        get_project(his, tenant.project.ref)
    with pytest.raises(NotFound):
        find_project_of(charlie(), tenant.project.ref)
    with pytest.raises(NotFound):
        rename_project(his, project_id=tenant.project.id, name="Mine", now=NOW)
    with pytest.raises(NotFound):
        archive_project(his, project_id=tenant.project.id, now=NOW)
    assert tenant.project not in list_projects_of(charlie())


def test_a_member_finds_it_by_ref():
    tenant = acme()
    assert find_project_of(bob(), tenant.project.ref) == tenant.project
    assert get_project(organization_as(tenant, bob()), tenant.project.ref) == tenant.project
    assert list_projects_of(bob()) == [tenant.project]


@pytest.mark.parametrize("ref", ["", "proj_", "proj_\0", "shop", "proj_" + "z" * 26, "🦊"])
def test_an_odd_ref_is_not_found(ref):
    acme()
    with pytest.raises(NotFound):
        find_project_of(alice(), ref)


def test_a_key_manages_no_projects():
    with pytest.raises(Forbidden):
        create_project(acme().scope.organization, name="Key's", now=NOW)
