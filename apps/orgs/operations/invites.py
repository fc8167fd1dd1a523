"""Invites: made, mailed, accepted or revoked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db import transaction

from apps.accounts.models import User
from apps.accounts.queries import addresses_of
from apps.core.crypto import digest, new_token, seal, unseal
from apps.core.errors import AlreadyExists, Forbidden, NotFound
from apps.core.facts import publish
from apps.core.letters import send_letter
from apps.orgs import policy
from apps.orgs.actors import Actor, OrganizationScope
from apps.orgs.audit import record
from apps.orgs.errors import InviteUnusable
from apps.orgs.facts import InviteCreated, MemberJoined
from apps.orgs.models import Invite, Membership, Organization
from apps.orgs.permissions import Permission, require
from apps.orgs.roles import Role


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedInvite:
    """A new invite; its token goes out by mail, and may be shown to who made it."""

    invite_id: UUID
    token: str


@transaction.atomic
def invite_member(
    scope: OrganizationScope, *, email: str, role: str, now: datetime
) -> CreatedInvite:
    """Invite an address; a pending invite to it is renewed, and its older token ends."""
    require(scope.actor, Permission.MEMBERS_WRITE)
    email, offered = policy.clean_email(email), policy.parse_role(role)
    policy.check_rank(scope.actor, offered)
    Organization.objects.select_for_update().get(pk=scope.organization_id)
    if Membership.objects.within(scope).filter(user__email__iexact=email).exists():
        raise AlreadyExists(f"{email} is a member already")
    pending = Invite.objects.within(scope).pending().filter(email=email).first()
    invite = pending or Invite(organization_id=scope.organization_id, email=email)
    token = new_token(policy.INVITE_PREFIX)
    invite.role, invite.digest = offered, digest(token)
    invite.sealed = seal(token, context=invite.seal_context)
    invite.invited_by_id = scope.actor.id if scope.actor.kind == "user" else None
    invite.created_at, invite.expires_at, invite.sent_at = now, now + policy.INVITE_LIFETIME, None
    invite.save()
    detail = {"email": email, "role": offered}
    record(scope, action="invite.created", target=("invite", invite.id), detail=detail, now=now)
    publish(InviteCreated(invite_id=invite.id, at=now))
    return CreatedInvite(invite_id=invite.id, token=token)


@transaction.atomic
def renew_invite(scope: OrganizationScope, *, invite_id: UUID, now: datetime) -> CreatedInvite:
    """Mail a pending invite again, also one that has expired; its older link ends."""
    require(scope.actor, Permission.MEMBERS_WRITE)
    invite = Invite.objects.within(scope).pending().filter(pk=invite_id).first()
    if invite is None:
        raise NotFound
    return invite_member(scope, email=invite.email, role=invite.role, now=now)


@transaction.atomic
def revoke_invite(scope: OrganizationScope, *, invite_id: UUID, now: datetime) -> None:
    """End a pending invite; once more changes nothing."""
    require(scope.actor, Permission.MEMBERS_WRITE)
    invite = Invite.objects.within(scope).select_for_update().filter(pk=invite_id).first()
    if invite is None:
        raise NotFound
    if invite.accepted_at is not None:
        raise InviteUnusable("This invite was accepted: remove the member instead")
    if invite.revoked_at is None:
        invite.revoked_at = now
        invite.save(update_fields=["revoked_at"])
        record(scope, action="invite.revoked", target=("invite", invite.id), now=now)


@transaction.atomic
def accept_invite(user: User, *, token: str, now: datetime) -> Membership:
    """Become a member; only the person whose address was invited can."""
    found = Invite.objects.select_for_update().filter(digest=digest(token))
    invite = found.open(now).first()
    if invite is None:
        raise InviteUnusable
    if invite.email.lower() not in addresses_of(user):
        raise Forbidden("This invite is for another e-mail address: sign in with that one")
    membership, is_new = Membership.objects.get_or_create(
        organization_id=invite.organization_id,
        user=user,
        defaults={"role": invite.role, "created_at": now},
    )
    invite.accepted_at = now
    invite.save(update_fields=["accepted_at"])
    if is_new:
        _welcome(membership, invite, now=now)
    return membership


def send_invite(*, invite_id: UUID, now: datetime) -> bool:
    """Mail an invite unless that was done, or it is not open any more; whether it was sent."""
    with transaction.atomic():
        locked = Invite.objects.open(now).select_for_update(of=("self",), skip_locked=True)
        invite = (
            locked.select_related("organization", "invited_by")
            .filter(pk=invite_id, sent_at=None)
            .first()
        )
        if invite is None:
            return False
        token = unseal(invite.sealed, context=invite.seal_context)
        # Sent before it is noted: a crash in between mails twice, which beats not at all.
        send_letter("invite", to=invite.email, context=_letter(invite, token))
        invite.sent_at = now
        invite.save(update_fields=["sent_at"])
    return True


def _letter(invite: Invite, token: str) -> dict[str, object]:
    return {
        "invite": invite,
        "url": f"{settings.SERVER_URL}/invites/{token}",
        "until": f"{invite.expires_at:%d %B %Y, %H:%M} UTC",
        "server": settings.SERVER_URL,
    }


def _welcome(membership: Membership, invite: Invite, *, now: datetime) -> None:
    actor = Actor(kind="user", id=membership.user_id, role=Role(membership.role))
    scope = OrganizationScope(actor=actor, organization_id=membership.organization_id)
    record(
        scope,
        action="member.joined",
        target=("user", membership.user_id),
        detail={"role": membership.role, "invite": str(invite.id)},
        now=now,
    )
    publish(
        MemberJoined(organization_id=membership.organization_id, user_id=membership.user_id, at=now)
    )
