"""Roles of members, and their leaving. The organization's row is the lock of them all."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.db import transaction

from apps.core.errors import Forbidden, NotFound
from apps.core.facts import publish
from apps.orgs import policy
from apps.orgs.actors import OrganizationScope
from apps.orgs.audit import record
from apps.orgs.errors import LastOwner
from apps.orgs.facts import MemberRemoved
from apps.orgs.models import Membership, Organization
from apps.orgs.permissions import Permission, require
from apps.orgs.roles import Role


@transaction.atomic
def change_role(scope: OrganizationScope, *, user_id: UUID, role: str, now: datetime) -> Membership:
    """Give a member another role; raises LastOwner, or Forbidden above one's own role."""
    require(scope.actor, Permission.MEMBERS_WRITE)
    after = policy.parse_role(role)
    membership = _locked(scope, user_id)
    before = Role(membership.role)
    policy.check_rank(scope.actor, before, after)
    if after is before:
        return membership
    _keep_an_owner(membership, unless=after is Role.OWNER)
    membership.role = after
    membership.save(update_fields=["role"])
    record(
        scope,
        action="member.role_changed",
        target=("user", user_id),
        detail={"before": before, "after": after},
        now=now,
    )
    return membership


@transaction.atomic
def remove_member(scope: OrganizationScope, *, user_id: UUID, now: datetime) -> None:
    """End somebody's membership; raises LastOwner, or Forbidden above one's own role."""
    require(scope.actor, Permission.MEMBERS_WRITE)
    membership = _locked(scope, user_id)
    policy.check_rank(scope.actor, membership.role)
    _end(scope, membership, action="member.removed", now=now)


@transaction.atomic
def leave_organization(scope: OrganizationScope, *, now: datetime) -> None:
    """End one's own membership, which needs no permission; raises LastOwner."""
    if scope.actor.kind != "user" or scope.actor.id is None:
        raise Forbidden("Only a person can leave an organization")
    _end(scope, _locked(scope, scope.actor.id), action="member.left", now=now)


def _locked(scope: OrganizationScope, user_id: UUID) -> Membership:
    # Two owners who demote each other at once would leave none: they queue here instead.
    Organization.objects.select_for_update().get(pk=scope.organization_id)
    membership = Membership.objects.within(scope).filter(user_id=user_id).first()
    if membership is None:
        raise NotFound
    return membership


def _end(scope: OrganizationScope, membership: Membership, *, action: str, now: datetime) -> None:
    _keep_an_owner(membership, unless=False)
    user_id, role = membership.user_id, membership.role
    membership.delete()
    record(scope, action=action, target=("user", user_id), detail={"role": role}, now=now)
    publish(MemberRemoved(organization_id=scope.organization_id, user_id=user_id, at=now))


def _keep_an_owner(membership: Membership, *, unless: bool) -> None:
    if unless or membership.role != Role.OWNER:
        return
    others = Membership.objects.filter(organization_id=membership.organization_id).owners()
    if not others.exclude(pk=membership.pk).exists():
        raise LastOwner
