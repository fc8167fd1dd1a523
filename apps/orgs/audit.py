"""The audit log: one entry for each change that somebody causes, in the change's transaction."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from apps.orgs.actors import OrganizationScope
from apps.orgs.models import AuditEntry


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
    AuditEntry.objects.create(
        organization_id=scope.organization_id,
        environment_id=scope.environment_id,
        actor_kind=scope.actor.kind,
        actor_id=scope.actor.id,
        action=action,
        target_type=target_type,
        target_id=str(target_id)[:200],
        detail=detail or {},
        at=now,
    )
