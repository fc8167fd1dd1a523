"""What a credential may see: one environment, and who is acting in it."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from apps.orgs.actors import Actor, OrganizationScope


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """An actor inside one environment: first argument of every query and operation there."""

    actor: Actor
    organization_id: UUID
    project_id: UUID
    environment_id: UUID

    @property
    def organization(self) -> OrganizationScope:
        """The same actor, in the organization as a whole."""
        return OrganizationScope(
            actor=self.actor,
            organization_id=self.organization_id,
            environment_id=self.environment_id,
        )
