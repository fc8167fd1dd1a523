"""The audit log: one entry for each change that somebody causes, in the change's transaction."""

from __future__ import annotations

from contextvars import ContextVar
from datetime import datetime
from typing import Any
from uuid import UUID

from apps.orgs.actors import OrganizationScope
from apps.orgs.models import AuditEntry

# Which member of the staff acts as the actor at this moment, if one does: for every entry that is
# written meanwhile, whichever operation writes it.
impersonator_id: ContextVar[UUID | None] = ContextVar("impersonator_id", default=None)


def record(
    scope: OrganizationScope,
    *,
    action: str,
    target: tuple[str, object],
    now: datetime,
    detail: dict[str, Any] | None = None,
) -> None:
    """Write down who did what to which (type, id); never put a secret into `detail`."""
    target_type, target_id = target
    detail = dict(detail or {})
    if (staff := impersonator_id.get()) is not None:
        detail["impersonated_by"] = str(staff)
    AuditEntry.objects.create(
        organization_id=scope.organization_id,
        environment_id=scope.environment_id,
        actor_kind=scope.actor.kind,
        actor_id=scope.actor.id,
        action=action,
        target_type=target_type,
        target_id=str(target_id)[:200],
        detail=detail,
        at=now,
    )
