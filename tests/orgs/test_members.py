"""Roles change, members leave, and there is always an owner."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.db import IntegrityError, connection

from apps.core.errors import Forbidden, Invalid, NotFound
from apps.orgs.actors import SYSTEM, OrganizationScope
from apps.orgs.errors import LastOwner
from apps.orgs.models import AuditEntry, Membership
from apps.orgs.operations.members import change_role, leave_organization, remove_member
from apps.orgs.queries import list_members, organization_scope
from apps.orgs.roles import Role
from tests.factories import (
    NOW,
    acme,
    alice,
    bob,
    charlie,
    globex,
    member,
    organization_as,
    person,
)

pytestmark = pytest.mark.django_db


def role_of(tenant, user) -> str:
    return Membership.objects.get(organization=tenant.organization, user=user).role


def test_an_owner_makes_a_developer_an_admin():
    tenant = acme()
    change_role(organization_as(tenant, alice()), user_id=bob().id, role="admin", now=NOW)
    assert role_of(tenant, bob()) == Role.ADMIN
    entry = AuditEntry.objects.get(action="member.role_changed")
    assert entry.detail == {"before": "developer", "after": "admin"}


def test_the_same_role_again_changes_nothing():
    tenant = acme()
    change_role(organization_as(tenant, alice()), user_id=bob().id, role="developer", now=NOW)
    assert not AuditEntry.objects.filter(action="member.role_changed").exists()


def test_an_unknown_role_is_refused():
    with pytest.raises(Invalid, match="not a role"):
        change_role(organization_as(acme(), alice()), user_id=bob().id, role="king", now=NOW)


def test_the_last_owner_cannot_be_demoted():
    with pytest.raises(LastOwner):
        change_role(organization_as(acme(), alice()), user_id=alice().id, role="admin", now=NOW)


def test_the_last_owner_cannot_leave():
    with pytest.raises(LastOwner):
        leave_organization(organization_as(acme(), alice()), now=NOW)


def test_the_last_owner_cannot_be_removed():
    with pytest.raises(LastOwner):
        remove_member(organization_as(acme(), alice()), user_id=alice().id, now=NOW)


def test_with_a_second_owner_the_first_may_leave():
    tenant = acme()
    change_role(organization_as(tenant, alice()), user_id=bob().id, role="owner", now=NOW)
    leave_organization(organization_as(tenant, alice()), now=NOW)
    with pytest.raises(NotFound):
        organization_scope(alice(), tenant.organization.id)


@pytest.mark.django_db(transaction=True)
def test_of_two_owners_who_leave_at_once_one_stays():
    tenant, barrier = acme(), Barrier(2)
    change_role(organization_as(tenant, alice()), user_id=bob().id, role="owner", now=NOW)
    scopes = [organization_as(tenant, user) for user in (alice(), bob())]

    def leave(scope: OrganizationScope) -> bool:
        barrier.wait(60)
        try:
            leave_organization(scope, now=NOW)
        except LastOwner:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(leave, scopes)) == [False, True]
    assert Membership.objects.owners().count() == 1


def test_an_admin_can_neither_make_nor_demote_nor_remove_an_owner():
    tenant, dora = acme(), person("dora")
    member(tenant.organization, dora, Role.ADMIN)
    within = organization_as(tenant, dora)
    for attempt in (
        lambda: change_role(within, user_id=dora.id, role="owner", now=NOW),
        lambda: change_role(within, user_id=alice().id, role="viewer", now=NOW),
        lambda: remove_member(within, user_id=alice().id, now=NOW),
    ):
        with pytest.raises(Forbidden, match="above your own"):
            attempt()
    remove_member(within, user_id=bob().id, now=NOW)


def test_a_developer_changes_nobody_but_may_leave():
    within = organization_as(acme(), bob())
    with pytest.raises(Forbidden):
        change_role(within, user_id=bob().id, role="owner", now=NOW)
    with pytest.raises(Forbidden):
        remove_member(within, user_id=alice().id, now=NOW)
    leave_organization(within, now=NOW)
    assert AuditEntry.objects.get(action="member.left").actor_id == bob().id


def test_charlie_is_no_member_to_change_and_changes_no_member():
    acme_tenant, globex_tenant = acme(), globex()
    with pytest.raises(NotFound):
        change_role(
            organization_as(acme_tenant, alice()), user_id=charlie().id, role="viewer", now=NOW
        )
    with pytest.raises(NotFound):
        remove_member(organization_as(globex_tenant, charlie()), user_id=bob().id, now=NOW)


def test_a_key_manages_no_members():
    with pytest.raises(Forbidden):
        remove_member(acme().scope.organization, user_id=bob().id, now=NOW)
    with pytest.raises(Forbidden, match="Only a person"):
        leave_organization(acme().scope.organization, now=NOW)


def test_the_system_may_remove_anybody_but_the_last_owner():
    scope = OrganizationScope(actor=SYSTEM, organization_id=acme().organization.id)
    remove_member(scope, user_id=bob().id, now=NOW)
    with pytest.raises(LastOwner):
        remove_member(scope, user_id=alice().id, now=NOW)


def test_members_are_listed_with_their_people(django_assert_num_queries):
    within = organization_as(acme(), bob())
    with django_assert_num_queries(1):
        assert [member.user.name for member in list_members(within)] == ["Alice", "Bob"]


def test_a_person_is_a_member_once():
    tenant = acme()
    with pytest.raises(IntegrityError, match="membership_is_unique_per_person"):
        Membership.objects.create(
            organization=tenant.organization, user=bob(), role=Role.VIEWER, created_at=NOW
        )


def test_the_database_knows_the_roles():
    with pytest.raises(IntegrityError, match="membership_role_is_known"):
        Membership.objects.create(
            organization=acme().organization, user=charlie(), role="king", created_at=NOW
        )
