"""Queues at run time: paused, resumed, and their limits overridden until somebody resets them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction

from apps.core.errors import Invalid, NotFound
from apps.core.facts import publish
from apps.deployments.facts import QueuesChanged
from apps.deployments.models import KeyOverride, Queue
from apps.environments.models import Environment
from apps.environments.scope import Scope
from apps.orgs.audit import record
from apps.orgs.permissions import Permission, require

HIGHEST_LIMIT = 100_000
KEY_LENGTH = 128
KEY_OVERRIDE = timedelta(days=7)
LONGEST_KEY_OVERRIDE = timedelta(days=30)


@transaction.atomic
def pause_queue(scope: Scope, *, name: str, now: datetime) -> Queue:
    """Start no more runs of a queue; what executes goes on. Once more changes nothing."""
    queue = _locked(scope, name)
    if queue.paused_at is None:
        queue.paused_at = now
        queue.save(update_fields=["paused_at"])
        _tell(scope, queue, "paused", now=now)
    return queue


@transaction.atomic
def resume_queue(scope: Scope, *, name: str, now: datetime) -> Queue:
    """Let runs of a queue start again. Once more changes nothing."""
    queue = _locked(scope, name)
    if queue.paused_at is not None:
        queue.paused_at = None
        queue.save(update_fields=["paused_at"])
        _tell(scope, queue, "resumed", now=now)
    return queue


@transaction.atomic
def override_limits(
    scope: Scope,
    *,
    name: str,
    per_key: int | None = None,
    total: int | None = None,
    by: str = "",
    now: datetime,
) -> Queue:
    """Put other limits in the place of those in code, which deploys leave alone from then on.

    What is None stays as it is; 0 starts nothing. `by` names the person, if it was one.
    """
    queue = _locked(scope, name)
    if per_key is None and total is None:
        raise Invalid("name a limit: per key, in total, or both")
    _check(per_key, "concurrencyLimit")
    _check(total, "total")
    if per_key is not None:
        queue.override, queue.overridden_at, queue.overridden_by = per_key, now, by
    if total is not None:
        queue.total_override, queue.total_overridden_at = total, now
    queue.save(update_fields=_OVERRIDES)
    _tell(scope, queue, "overridden", now=now, detail={"perKey": per_key, "total": total})
    return queue


@transaction.atomic
def override_percent(
    scope: Scope, *, name: str, percent: float, by: str = "", now: datetime
) -> Queue:
    """Override a queue's limit by a share of its environment's, at least 1."""
    if not 0 <= percent <= 100:
        raise Invalid("percent is 0 to 100", detail={"percent": ["out of range"]})
    limit = Environment.objects.within(scope).values_list("concurrency_limit", flat=True).first()
    per_key = max(1, int((limit or 0) * percent / 100)) if percent else 0
    return override_limits(scope, name=name, per_key=per_key, by=by, now=now)


@transaction.atomic
def reset_limits(scope: Scope, *, name: str, now: datetime) -> Queue:
    """Let the limits in code count again. Once more changes nothing."""
    queue = _locked(scope, name)
    if queue.override is not None or queue.total_override is not None:
        queue.override = queue.overridden_at = None
        queue.total_override = queue.total_overridden_at = None
        queue.overridden_by = ""
        queue.save(update_fields=_OVERRIDES)
        _tell(scope, queue, "reset", now=now)
    return queue


@transaction.atomic
def override_key(
    scope: Scope,
    *,
    name: str,
    key: str,
    per_key: int,
    life: timedelta = KEY_OVERRIDE,
    now: datetime,
) -> KeyOverride:
    """Limit one concurrency key of a queue by itself for a while, at most 30 days; 0 blocks it."""
    queue = _locked(scope, name)
    _check(per_key, "perKey")
    if not 0 < len(key) <= KEY_LENGTH:
        text = f"concurrencyKey has 1 to {KEY_LENGTH} characters"
        raise Invalid(text, detail={"concurrencyKey": ["bad length"]})
    if not timedelta(0) < life <= LONGEST_KEY_OVERRIDE:
        raise Invalid("ttl is at most 30 days, and more than nothing", detail={"ttl": ["range"]})
    made, _ = KeyOverride.objects.update_or_create(
        queue=queue,
        key=key,
        defaults={"cap": per_key, "expires_at": now + life},
        create_defaults={"cap": per_key, "expires_at": now + life, "created_at": now},
    )
    detail = {"key": key, "perKey": per_key, "seconds": life.total_seconds()}
    _tell(scope, queue, "key_overridden", now=now, detail=detail)
    return made


@transaction.atomic
def reset_key(scope: Scope, *, name: str, key: str, now: datetime) -> None:
    """Let the limit of the queue count again for this key. Once more changes nothing."""
    queue = _locked(scope, name)
    gone, _ = queue.key_overrides.filter(key=key).delete()
    if gone:
        _tell(scope, queue, "key_reset", now=now, detail={"key": key})


@transaction.atomic
def lapse_overrides(*, most: int, now: datetime) -> int:
    """Remove the overrides of keys whose time is over; lanes follow the queue again."""
    over = KeyOverride.objects.filter(expires_at__lte=now).order_by("expires_at")
    rows = list(over.select_for_update(skip_locked=True).select_related("queue")[:most])
    KeyOverride.objects.filter(pk__in=[row.pk for row in rows]).delete()
    names: dict[UUID, set[str]] = {}
    for row in rows:
        names.setdefault(row.queue.environment_id, set()).add(row.queue.name)
    for environment_id, changed in names.items():
        fact = QueuesChanged(environment_id=environment_id, names=tuple(sorted(changed)), at=now)
        publish(fact)
    return len(rows)


_OVERRIDES = [
    "override", "overridden_at", "overridden_by", "total_override", "total_overridden_at",
]  # fmt: skip


def _locked(scope: Scope, name: str) -> Queue:
    require(scope.actor, Permission.QUEUES_WRITE)
    found = Queue.objects.select_for_update().filter(environment=scope.environment_id, name=name)
    queue = found.first()
    if queue is None:
        raise NotFound(f"There is no queue {name!r} in this environment")
    return queue


def _check(limit: int | None, field: str) -> None:
    if limit is not None and not 0 <= limit <= HIGHEST_LIMIT:
        raise Invalid(f"{field} is 0 to {HIGHEST_LIMIT}", detail={field: ["out of range"]})


def _tell(
    scope: Scope, queue: Queue, what: str, *, now: datetime, detail: dict[str, Any] | None = None
) -> None:
    target = ("queue", UUID(str(queue.id)))
    record(
        scope.organization,
        action=f"queue.{what}",
        target=target,
        now=now,
        detail={"name": queue.name, **(detail or {})},
    )
    publish(QueuesChanged(environment_id=scope.environment_id, names=(queue.name,), at=now))
