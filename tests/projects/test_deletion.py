"""A deleted organization is gone for everybody, at once and with all that was in it."""

import pytest

from apps.accounts.errors import NotAuthenticated
from apps.core.errors import Forbidden, NotFound
from apps.environments import credentials
from apps.environments.access import place_of_user, scope_for_user
from apps.environments.credentials import resolve_key
from apps.orgs.errors import InviteUnusable
from apps.orgs.models import AuditEntry, Organization
from apps.orgs.operations.invites import accept_invite, invite_member
from apps.orgs.operations.organizations import create_organization
from apps.orgs.queries import (
    list_organizations,
    open_invite,
    organization_scope,
    organization_scope_by_slug,
)
from apps.orgs.roles import Role
from apps.projects.operations import delete_organization
from apps.projects.queries import list_projects_of
from tests.factories import NOW, acme, alice, bob, globex, member, organization_as, person

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def forget():
    credentials.forget()
    yield
    credentials.forget()


def deleted():
    tenant = acme()
    delete_organization(organization_as(tenant, alice()), now=NOW)
    credentials.forget()
    return tenant


def test_its_members_find_nothing_of_it():
    tenant = deleted()
    for someone in (alice(), bob()):
        assert list_organizations(someone) == []
        assert list_projects_of(someone) == []
        for ask in (
            lambda who=someone: organization_scope(who, tenant.organization.id),
            lambda who=someone: organization_scope_by_slug(who, tenant.organization.slug),
            lambda who=someone: scope_for_user(who, tenant.project.ref, "prod", now=NOW),
            lambda who=someone: place_of_user(who, "acme", "acme-shop", "prod", None, now=NOW),
        ):
            with pytest.raises(NotFound):
                ask()


def test_its_keys_open_nothing():
    tenant = deleted()
    for secret in tenant.keys.values():
        with pytest.raises(NotAuthenticated):
            resolve_key(secret, now=NOW)


def test_its_invites_end():
    made = invite_member(
        organization_as(acme(), alice()), email="dora@example.com", role="viewer", now=NOW
    )
    deleted()
    with pytest.raises(InviteUnusable):
        open_invite(made.token, now=NOW)
    with pytest.raises(InviteUnusable):
        accept_invite(person("dora"), token=made.token, now=NOW)


def test_its_slug_becomes_free_and_its_rows_stay():
    tenant = deleted()
    again = create_organization(user_id=alice().id, name="Acme", now=NOW)
    assert again.slug == "acme"
    kept = Organization.objects.get(pk=tenant.organization.id)
    assert (kept.deleted_at, kept.name) == (NOW, "Acme")
    entry = AuditEntry.objects.filter(organization=kept).latest("id")
    assert (entry.action, entry.detail) == (
        "organization.deleted",
        {"name": "Acme", "slug": "acme"},
    )


@pytest.mark.parametrize("role", [Role.ADMIN, Role.DEVELOPER, Role.VIEWER])
def test_only_an_owner_may(role):
    tenant = acme()
    member(tenant.organization, person("dora"), role)
    with pytest.raises(Forbidden):
        delete_organization(organization_as(tenant, person("dora")), now=NOW)


def test_others_are_not_touched():
    other = globex()
    deleted()
    assert resolve_key(other.secret, now=NOW).project_id == other.project.id
    assert list_organizations(other.owner) == [other.organization]
