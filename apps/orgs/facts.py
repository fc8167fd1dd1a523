"""What organizations tell others."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganizationDeleted:
    """An organization is gone for everybody; its projects were archived with it."""

    organization_id: UUID
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganizationLimitChanged:
    """Another number of runs may execute in this organization at once."""

    organization_id: UUID
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class InviteCreated:
    """An invite waits to be mailed."""

    invite_id: UUID
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberJoined:
    """Somebody became a member."""

    organization_id: UUID
    user_id: UUID
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberRemoved:
    """Somebody is no member any more; their development keys have stopped working."""

    organization_id: UUID
    user_id: UUID
    at: datetime
