"""Waitpoints that are completed from outside of runs: tokens, and times that have come."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Q, QuerySet

from apps.core import sql
from apps.core.errors import Conflict, Invalid, NotFound
from apps.core.ids import floor, new_id, parse_public_id, public_id
from apps.core.transactions import retried
from apps.environments.scope import Scope
from apps.orgs.permissions import Permission, require
from apps.runs import policy
from apps.runs.errors import no_input, timed_out
from apps.runs.limits import limits
from apps.runs.models import Lease, Run, Wait, Waitpoint
from apps.runs.operations.keys import Hold, hold_keys
from apps.runs.operations.locks import lock_places
from apps.runs.operations.waiting import (
    Suspension,
    TimeWait,
    make_times,
    suspend_runs,
    wake_waiters,
)
from apps.runs.states import KeyKind, RunStatus, WaitpointKind
from holdfast.ids import waitpoint_id_of

BITE = 500
_BLOCKABLE = {RunStatus.EXECUTING, RunStatus.WAITING}


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedToken:
    """A token to wait for; cached when its idempotency key belongs to an earlier one."""

    waitpoint_id: UUID
    is_cached: bool


@retried
def create_token(
    scope: Scope,
    *,
    timeout_at: datetime | None = None,
    tags: Sequence[str] = (),
    idempotency_key: str | None = None,
    idempotency_ttl: timedelta | None = None,
    now: datetime,
) -> CreatedToken:
    """Make something that runs may wait for until it is completed, or its time is over.

    The same idempotency key, while it lives, answers with the same token, completed or not.
    """
    require(scope.actor, Permission.WAITPOINTS_WRITE)
    bounds = limits()
    policy.check_tags(tags, bounds, subject="a token")
    policy.check_key(idempotency_key, bounds, field="idempotencyKey")
    life = _life(idempotency_ttl)
    fresh = Waitpoint(
        id=new_id(),
        environment_id=scope.environment_id,
        kind=WaitpointKind.TOKEN,
        due_at=timeout_at or now + timedelta(seconds=bounds.token_timeout_seconds),
        tags=list(dict.fromkeys(tags)),
        idempotency_key=idempotency_key,
        idempotency_expires_at=now + life if idempotency_key else None,
        created_at=now,
    )
    if idempotency_key is not None:
        hold = Hold(task="", key=idempotency_key, run_id=fresh.pk, life=life)
        holder = hold_keys(scope.environment_id, KeyKind.WAITPOINT, [hold], now=now)[fresh.pk]
        if holder != fresh.pk:
            return CreatedToken(waitpoint_id=holder, is_cached=True)
    fresh.save(force_insert=True)
    return CreatedToken(waitpoint_id=fresh.pk, is_cached=False)


def _life(ttl: timedelta | None) -> timedelta:
    if ttl is None:
        return timedelta(seconds=limits().token_key_seconds)
    if ttl <= timedelta(0):
        raise Invalid(
            "idempotencyKeyTTL is more than 0 seconds",
            detail={"idempotencyKeyTTL": ["out of bounds"]},
        )
    return ttl


@retried
def complete_token(
    scope: Scope,
    *,
    waitpoint_id: UUID,
    output: str | None = None,
    output_type: str = "application/json",
    now: datetime,
) -> bool:
    """Complete a token and wake who waits for it; False when it was over already."""
    require(scope.actor, Permission.WAITPOINTS_WRITE)
    found = Waitpoint.objects.filter(environment_id=scope.environment_id)
    return _complete_token(found.filter(pk=waitpoint_id), output, output_type, now=now)


@retried
def complete_called_back(
    *, waitpoint_id: UUID, output: str | None, output_type: str = "application/json", now: datetime
) -> bool:
    """Complete a token by its callback; the caller has verified the callback's secret."""
    found = Waitpoint.objects.filter(pk=waitpoint_id)
    return _complete_token(found, output, output_type, now=now)


def _complete_token(
    wanted: QuerySet[Waitpoint], output: str | None, output_type: str, *, now: datetime
) -> bool:
    policy.check_payload(output, limits())
    token = wanted.filter(kind=WaitpointKind.TOKEN).select_for_update().first()
    if token is None:
        raise NotFound
    if token.completed_at is not None:
        return False
    token.output, token.output_type, token.completed_at = output, output_type, now
    token.save(update_fields=["output", "output_type", "completed_at"])
    wake_waiters([token.pk], now=now)
    return True


@retried
def block_run(scope: Scope, *, run_id: UUID, waitpoint_id: UUID, now: datetime) -> None:
    """Have an executing run wait for one thing more, as its own code asks from outside.

    It goes on when all that it waits for by this has happened.
    """
    require(scope.actor, Permission.RUNS_WRITE)
    places = lock_places(runs=[run_id], named=[waitpoint_id])
    if places.get(waitpoint_id) != scope.environment_id:
        raise NotFound
    _lock_run(scope, run_id)
    present = Wait.objects.filter(run_id=run_id, waitpoint__completed_at=None)
    waited = list(present.values_list("waitpoint_id", flat=True))
    suspension = Suspension(run_id=run_id, waitpoint_ids=[*waited, waitpoint_id], needs_all=True)
    suspend_runs([suspension], now=now)


@retried
def block_until(
    scope: Scope, *, run_id: UUID, due_at: datetime, key: str | None = None, now: datetime
) -> Waitpoint:
    """Have an executing run wait until a moment; a key finds the wait of an earlier attempt."""
    policy.check_key(key, limits(), field="idempotencyKey")
    if not Run.objects.within(scope.environment_id).filter(pk=run_id).exists():
        raise NotFound
    name = public_id("run", run_id)
    chosen = new_id() if key is None else parse_public_id("waitpoint", waitpoint_id_of(name, key))
    time = TimeWait(id=chosen, environment_id=scope.environment_id, due_at=due_at)
    make_times([time], now=now)
    block_run(scope, run_id=run_id, waitpoint_id=chosen, now=now)
    return Waitpoint.objects.get(pk=chosen)


def _lock_run(scope: Scope, run_id: UUID) -> Run:
    runs = Run.objects.within(scope.environment_id).defer("payload", "output")
    run = runs.select_for_update(no_key=True).filter(pk=run_id).first()
    if run is None:
        raise NotFound
    if run.status not in _BLOCKABLE:
        raise Conflict(f"only a run that executes can wait, this one is {run.status}")
    if Lease.objects.filter(pk=run_id, is_started=False).exists():
        raise Conflict("the attempt that asks has failed, and the next one has not started yet")
    return run


@retried
def complete_due(now: datetime) -> int:
    """Complete the waitpoints whose time has come: what was a timeout, as timed out."""
    due = sql.rows(
        sql.load("runs", "complete_due"),
        {
            "now": now,
            "timed_out": json.dumps(timed_out()),
            "no_input": json.dumps(no_input()),
            "most": BITE,
        },
    )
    wake_waiters([row["id"] for row in due], now=now)
    return len(due)


@retried
def forget_waitpoints(now: datetime) -> int:
    """Remove waitpoints that are long over and that no run waits for any more.

    An input that nobody waits for is over: who waits for the same item again makes it anew.
    """
    before = now - timedelta(days=limits().waitpoint_days)
    # by id, which begins with the time of creation: the oldest are found without an index of ends
    over = Q(completed_at__lte=before) | Q(
        kind=WaitpointKind.INPUT, completed_at=None, created_at__lte=before
    )
    old = Waitpoint.objects.filter(over, pk__lt=floor(before))
    unused = old.exclude(pk__in=Wait.objects.values("waitpoint_id")).order_by("pk")
    batch = list(unused.select_for_update(skip_locked=True).values_list("pk", flat=True)[:BITE])
    Waitpoint.objects.filter(pk__in=batch).delete()
    return len(batch)
