"""What members see of their organization."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db.models import Q

from apps.accounts.models import User
from apps.accounts.queries import has_nobody
from apps.core.crypto import digest
from apps.core.errors import NotFound
from apps.core.paging import CursorPage, Page, paged
from apps.orgs.actors import Actor, OrganizationScope
from apps.orgs.errors import InviteUnusable
from apps.orgs.filters import AuditFilters
from apps.orgs.models import AuditEntry, Invite, Membership, MembershipQuerySet, Organization
from apps.orgs.permissions import Permission, require
from apps.orgs.roles import Role

_UNSENT_AT_ONCE = 100
_ENTRIES_AT_MOST = 200


def organization_scope(user: User, organization_id: UUID) -> OrganizationScope:
    """A person inside an organization; NotFound when they are no member."""
    return _scope(Membership.objects.filter(organization_id=organization_id), user)


def organization_scope_by_slug(user: User, slug: str) -> OrganizationScope:
    """A person inside the organization of this slug; NotFound when they are no member."""
    if not slug.isascii() or "\0" in slug:
        raise NotFound
    return _scope(Membership.objects.filter(organization__slug=slug), user)


def list_organizations(user: User) -> list[Organization]:
    """The organizations a person is a member of, by name."""
    mine = Organization.objects.filter(memberships__user=user, deleted_at=None)
    return list(mine.order_by("name", "id"))


def get_organization(scope: OrganizationScope) -> Organization:
    """The organization of this scope."""
    return Organization.objects.get(pk=scope.organization_id)


def list_members(scope: OrganizationScope) -> list[Membership]:
    """All members with their people, the longest-standing first."""
    require(scope.actor, Permission.MEMBERS_READ)
    return list(Membership.objects.within(scope).select_related("user").order_by("id"))


def list_pending_invites(scope: OrganizationScope) -> list[Invite]:
    """Invites that were neither accepted nor revoked, also expired ones, newest first."""
    require(scope.actor, Permission.MEMBERS_WRITE)
    return list(Invite.objects.within(scope).pending().order_by("-created_at"))


def list_invites(scope: OrganizationScope, *, now: datetime) -> list[Invite]:
    """Invites that can still be accepted, newest first."""
    require(scope.actor, Permission.MEMBERS_WRITE)
    return list(Invite.objects.within(scope).open(now).order_by("-created_at"))


def list_audit_entries(
    scope: OrganizationScope, *, before: UUID | None = None, limit: int = 50
) -> list[AuditEntry]:
    """The audit log, newest first; `before` is the last id of the page before."""
    page = CursorPage(size=min(limit, _ENTRIES_AT_MOST), after=before)
    return audit_page(scope, AuditFilters(), page).items


def audit_page(
    scope: OrganizationScope, filters: AuditFilters, page: CursorPage
) -> Page[AuditEntry]:
    """One page of the entries that the filters leave."""
    require(scope.actor, Permission.AUDIT_READ)
    entries = AuditEntry.objects.within(scope).between(filters.since, filters.until)
    tried = Q()
    if filters.about:
        tried &= Q(action__startswith=f"{filters.about}.")
    if filters.actor_id is not None:
        tried &= Q(actor_id=filters.actor_id)
    if filters.environment_id is not None:
        tried &= Q(environment_id=filters.environment_id)
    return paged(entries, page, tried=tried)


def names_of_people(ids: Iterable[UUID]) -> dict[UUID, str]:
    """What people are called, for logs of organizations that they may have left."""
    people = User.objects.filter(pk__in=list(ids))
    return {person.pk: person.get_full_name() for person in people}


def open_invite(token: str, *, now: datetime) -> Invite:
    """What the page of an invite shows; raises InviteUnusable."""
    found = Invite.objects.open(now).filter(digest=digest(token))
    invite = found.select_related("organization", "invited_by").first()
    if invite is None:
        raise InviteUnusable
    return invite


def may_sign_up(email: str, *, now: datetime) -> bool:
    """Whether an address that is not known may become a person: always where sign-up is open.

    Else by an invite, and the first person of a new server, who has nobody to be invited by.
    """
    is_invited = Invite.objects.open(now).filter(email=email.strip().lower()).exists()
    return settings.SIGN_UP == "open" or is_invited or has_nobody()


def unsent_invites(*, before: datetime, now: datetime) -> list[UUID]:
    """Open invites of before that moment whose mail has not gone out."""
    unsent = Invite.objects.open(now).filter(sent_at=None, created_at__lt=before)
    return list(unsent.order_by("id").values_list("id", flat=True)[:_UNSENT_AT_ONCE])


def _scope(memberships: MembershipQuerySet, user: User) -> OrganizationScope:
    membership = memberships.active().filter(user=user).first()
    if membership is None:
        raise NotFound
    return OrganizationScope(
        actor=Actor(kind="user", id=user.pk, role=Role(membership.role)),
        organization_id=membership.organization_id,
    )
