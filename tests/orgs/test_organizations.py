"""Organizations are founded, renamed and found by their members."""

from uuid import uuid4

import pytest

from apps.core.errors import Forbidden, Invalid, NotFound
from apps.orgs.models import AuditEntry
from apps.orgs.operations.organizations import create_organization, rename_organization
from apps.orgs.queries import (
    get_organization,
    list_organizations,
    organization_scope,
    organization_scope_by_slug,
)
from apps.orgs.roles import Role
from tests.factories import NOW, acme, alice, bob, charlie, globex, organization_as

pytestmark = pytest.mark.django_db


def test_who_founds_an_organization_owns_it():
    made = create_organization(user_id=alice().id, name="  Acme   Inc ", now=NOW)
    assert made.name == "Acme Inc"
    assert made.slug == "acme-inc"
    assert organization_scope(alice(), made.id).actor.role is Role.OWNER
    assert AuditEntry.objects.get().action == "organization.created"


def test_a_second_one_of_the_same_name_gets_another_slug():
    first = create_organization(user_id=alice().id, name="Acme", now=NOW)
    second = create_organization(user_id=charlie().id, name="Acme", now=NOW)
    assert second.slug.startswith("acme-")
    assert first.slug != second.slug


@pytest.mark.parametrize("name", ["株式会社", "🦊", "x" * 100])
def test_any_name_gets_a_slug(name):
    made = create_organization(user_id=alice().id, name=name, now=NOW)
    assert 0 < len(made.slug) <= 60
    assert made.slug.isascii()


@pytest.mark.parametrize("name", ["", "  ", "x" * 101])
def test_a_name_is_needed_and_bounded(name):
    with pytest.raises(Invalid):
        create_organization(user_id=alice().id, name=name, now=NOW)


def test_an_owner_renames_it_and_the_slug_stays():
    tenant = acme()
    rename_organization(organization_as(tenant, alice()), name="Acme Ltd", now=NOW)
    found = get_organization(organization_as(tenant, bob()))
    assert (found.name, found.slug) == ("Acme Ltd", "acme")
    entry = AuditEntry.objects.get(action="organization.renamed")
    assert entry.detail == {"before": "Acme", "after": "Acme Ltd"}
    assert entry.actor_id == alice().id


def test_a_developer_cannot_rename_it():
    with pytest.raises(Forbidden, match="organization:write"):
        rename_organization(organization_as(acme(), bob()), name="Bob's", now=NOW)


def test_charlie_is_not_in_alices_organization():
    tenant = acme()
    for hidden in (tenant.organization.id, uuid4()):
        with pytest.raises(NotFound):
            organization_scope(charlie(), hidden)
    for slug in ("acme", "", "\0", "🦊"):
        with pytest.raises(NotFound):
            organization_scope_by_slug(charlie(), slug)


def test_everybody_sees_only_their_own():
    acme(), globex()
    assert [found.name for found in list_organizations(charlie())] == ["Globex"]
    assert [found.name for found in list_organizations(bob())] == ["Acme"]
    assert organization_scope_by_slug(bob(), "acme").actor.role is Role.DEVELOPER
