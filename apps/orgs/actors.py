"""Who is acting: a person, an environment's key, a public token, or Holdfast itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from apps.orgs.roles import Role

ActorKind = Literal["user", "key", "public_token", "system"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who is acting, and with what power."""

    kind: ActorKind
    id: UUID | None  # of the person or the key
    role: Role | None = None  # of a person in the organization; keys and the system have none
    scopes: tuple[str, ...] = ()  # of a public token, such as "read:runs:run_x"


SYSTEM = Actor(kind="system", id=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganizationScope:
    """An actor inside one organization: first argument of what is not inside an environment."""

    actor: Actor
    organization_id: UUID
    environment_id: UUID | None = None  # for the audit log, when the actor acts inside one
