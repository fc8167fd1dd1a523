"""How much of each limit is used now: of an organization, of an environment, of a queue's keys."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q, Sum

from apps.core import sql
from apps.environments.queries import get_environment
from apps.environments.scope import Scope
from apps.orgs.permissions import Permission, require
from apps.runs.models import EnvironmentSlots


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """How many slots of a limit are held; a limit of None bounds nothing."""

    used: int
    limit: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The limits above those of queues, as they stand.

    `base` is what one queue alone may use of the environment, `burst_factor` how far several may
    go beyond it together: `environment` has the limit with the burst.
    """

    organization: Level
    environment: Level
    base: int
    burst_factor: float


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLoad:
    """One concurrency key of a queue, or what has none: what executes, and what waits for a slot.

    `task` names the one task of which a single run executes at a time, if it is such a lane;
    `held_until` is set while the rate of the key lets no run start.
    """

    key: str
    task: str
    cap: int | None
    running: int
    queued: int
    weight: float
    held_until: datetime | None


def standing(scope: Scope) -> Standing:
    """How much of its environment's limit, and of its organization's, is used now."""
    require(scope.actor, Permission.QUEUES_READ)
    environment = get_environment(scope)
    slots = EnvironmentSlots.objects.filter(environment__organization=scope.organization_id)
    used = slots.aggregate(
        all=Sum("used", default=0), own=Sum("used", filter=Q(pk=environment.pk), default=0)
    )
    most = int(environment.concurrency_limit * environment.burst_factor)
    return Standing(
        organization=Level(used=used["all"], limit=environment.organization.concurrency_limit),
        environment=Level(used=used["own"], limit=most),
        base=environment.concurrency_limit,
        burst_factor=environment.burst_factor,
    )


def key_loads(
    scope: Scope, queue: str, *, most: int, most_queued: int, now: datetime
) -> list[KeyLoad]:
    """The concurrency keys of a queue, those that hold most slots first."""
    require(scope.actor, Permission.QUEUES_READ)
    rows = sql.rows(
        sql.load("runs", "key_loads"),
        {
            "environment": scope.environment_id,
            "queue": queue,
            "most": most,
            "most_queued": most_queued,
            "now": now,
        },
    )
    return [KeyLoad(**row) for row in rows]
