"""The people of an organization: members, invites, and the log of what anybody changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypedDict, TypeVar, Unpack

from holdfast._http import AsyncTransport, Call, Flow, SyncTransport
from holdfast.client.organizations import Organization
from holdfast.client.personal import PersonalGroup, path
from holdfast.client.results import Page, Result, read_page
from holdfast.client.surface import operation, paged

Transport = TypeVar("Transport", bound=AsyncTransport | SyncTransport)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member(Result):
    """Somebody's place in an organization; `role` is owner, admin, developer or viewer."""

    id: str
    email: str
    role: str
    name: str = ""
    joined_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Invite(Result):
    """An offer of membership that was neither accepted nor revoked.

    Attributes:
        id: Its id, ``invite_…``.
        email: Whose it is.
        role: What they would be.
        created_at: When it was made, or sent again.
        expires_at: Until when it can be accepted; it can be sent again afterwards.
        sent_at: When its mail went out; None while it waits.
    """

    id: str
    email: str
    role: str
    created_at: datetime
    expires_at: datetime
    sent_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SentInvite(Result):
    """An invite that goes out by mail; nobody but its address sees its link."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditActor(Result):
    """Who caused a change: `kind` is user, key, public_token or system."""

    kind: str
    name: str
    id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditTarget(Result):
    """What was changed."""

    type: str
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry(Result):
    """One change; `action` is such as ``member.role_changed``."""

    id: str
    at: datetime
    actor: AuditActor
    action: str
    target: AuditTarget
    environment_id: str | None = None
    detail: dict[str, Any] = field(default_factory=dict)


class AuditFilters(TypedDict, total=False):
    """Which entries are wanted; without any, all.

    Attributes:
        about: What actions begin with, such as ``member``.
        user: Only what this person did: ``user_…``.
        environment: Only what was done in this environment: ``env_…``.
        created_from: Nothing from before.
        created_to: Nothing from then on.
    """

    about: str
    user: str
    environment: str
    created_from: datetime
    created_to: datetime


_FILTERS = {
    "about": "filter[about]",
    "user": "filter[user]",
    "environment": "filter[environment]",
    "created_from": "filter[createdAt][from]",
    "created_to": "filter[createdAt][to]",
}


class Members(PersonalGroup[Transport]):
    """``client.members``: `organization` is a slug, `member` the id of a person."""

    @operation
    def change_role(self, organization: str, member: str, role: str) -> Flow[Member]:
        """Give somebody another role.

        Raises:
            PermissionDeniedError: The role, or the one before, is above one's own.
            ConflictError: They are the last owner.
        """
        where = path("orgs", organization, "members", member)
        return self._ask(Member, "PATCH", where, {"role": role})

    @operation
    def remove(self, organization: str, member: str) -> Flow[None]:
        """End somebody's membership; their development keys stop working."""
        return self._tell("DELETE", path("orgs", organization, "members", member))

    @operation
    def list(self, organization: str) -> Flow[list[Member]]:
        """Who is in, the longest-standing first."""
        return self._ask(list[Member], "GET", path("orgs", organization, "members"))


class Invites(PersonalGroup[Transport]):
    """``client.invites``: owners and admins invite, whoever is invited accepts."""

    @operation
    def create(self, organization: str, email: str, *, role: str = "developer") -> Flow[SentInvite]:
        """Invite an address by mail; a pending invite to it is renewed."""
        body = {"email": email, "role": role}
        return self._ask(SentInvite, "POST", path("orgs", organization, "invites"), body)

    @operation
    def resend(self, organization: str, invite: str) -> Flow[SentInvite]:
        """Mail an invite again, also one that has expired; its older link ends."""
        where = path("orgs", organization, "invites", invite, "resend")
        return self._ask(SentInvite, "POST", where)

    @operation
    def revoke(self, organization: str, invite: str) -> Flow[None]:
        """End an invite."""
        return self._tell("DELETE", path("orgs", organization, "invites", invite))

    @operation
    def accept(self, token: str) -> Flow[Organization]:
        """Become a member by the token at the end of an invite's link.

        Raises:
            PermissionDeniedError: The invite is for another address.
            UnprocessableError: It has expired, was revoked, or was accepted.
        """
        return self._ask(Organization, "POST", path("invites", "accept"), {"token": token})

    @operation
    def list(self, organization: str) -> Flow[list[Invite]]:
        """Invites that were neither accepted nor revoked, newest first."""
        return self._ask(list[Invite], "GET", path("orgs", organization, "invites"))


class AuditLog(PersonalGroup[Transport]):
    """``client.audit``: owners and admins read it, nobody changes it."""

    @paged
    def list(
        self, organization: str, *, size: int | None = None, **filters: Unpack[AuditFilters]
    ) -> Call[Page[AuditEntry]]:
        """What people and keys changed, newest first.

        Args:
            organization: A slug.
            size: Entries to a page, 1 to 100; 25.
            **filters: Which of them.
        """
        query = {_FILTERS[name]: _text(value) for name, value in filters.items()}
        return Call(
            method="GET",
            path=path("orgs", organization, "audit"),
            query={**query, "page[size]": size},
            parse=read_page(AuditEntry),
            auth="person",
        )


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
