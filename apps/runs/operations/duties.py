"""What the engine does by itself, for ever: each duty takes a bounded bite, any number of engines.

A duty returns how many rows it moved; a full bite means that there is more to do at once. Rows
that another engine works on are skipped, so duties need neither a leader nor each other.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Q

from apps.core.partitions import ensure_partitions
from apps.core.transactions import retried
from apps.runs.errors import internal
from apps.runs.limits import limits
from apps.runs.models import (
    PARTITIONED,
    IdempotencyKey,
    Lease,
    ReadyRun,
    Run,
    RunEvent,
    Timer,
)
from apps.runs.operations.finish import Ending, finish_runs
from apps.runs.operations.locks import lock_waitpoints
from apps.runs.operations.queueing import make_ready
from apps.runs.operations.retry import AttemptFailure, policy_delay, put_back, retry_later
from apps.runs.operations.settle import delivery_failure
from apps.runs.operations.versions import park_unknown, release_pending_everywhere
from apps.runs.states import AttemptStatus, RunStatus, TimerKind

BITE = 500
_WAITABLE = (RunStatus.QUEUED, RunStatus.DELAYED, RunStatus.PENDING_VERSION)

Duty = Callable[[datetime], int]


@retried
def queue_due(now: datetime) -> int:
    """Queue the runs whose delay, or whose time until the next attempt, is over."""
    due = _take_timers(TimerKind.DUE, now)
    runs = [run for run in _lock(due) if run.status == RunStatus.DELAYED]
    known = park_unknown(runs, now=now)
    for run in known:
        run.status, run.queued_at, run.updated_at = RunStatus.QUEUED, now, now
        run.delayed_until = None
    Run.objects.bulk_update(known, ["status", "queued_at", "updated_at", "delayed_until"])
    _record(known, "queued", now)
    make_ready(known, now=now)
    return len(due)


@retried
def expire(now: datetime) -> int:
    """End the runs that have not started within their time to live."""
    due = _take_timers(TimerKind.TTL, now)
    list(ReadyRun.objects.select_for_update().filter(pk__in=due).order_by("pk"))
    lock_waitpoints(runs=due)
    endings = [
        Ending(
            run_id=run.pk,
            status=RunStatus.EXPIRED,
            reason=f"not started within {run.ttl_seconds} seconds",
            error=internal("TASK_RUN_EXPIRED", f"not started within {run.ttl_seconds} seconds"),
        )
        for run in _lock(due)
        if run.status in _WAITABLE and run.started_at is None
    ]
    finish_runs(endings, now=now)
    return len(due)


def _take_timers(kind: TimerKind, now: datetime) -> list[UUID]:
    due = list(
        Timer.objects.select_for_update(skip_locked=True)
        .filter(kind=kind, due_at__lte=now)
        .order_by("due_at")
        .values_list("run_id", flat=True)[:BITE]
    )
    Timer.objects.filter(kind=kind, run_id__in=due).delete()
    return due


@retried
def rescue(now: datetime) -> int:
    """Take back runs whose lease is over: undelivered ones to the queue, others to a retry."""
    expired = list(
        Lease.objects.filter(expires_at__lte=now)
        .order_by("expires_at")
        .values_list("run_id", flat=True)[:BITE]
    )
    lock_waitpoints(runs=expired)
    runs = _lock(expired, skip_locked=True)
    # read again under the locks: a beat may have come in between
    leases = {
        lease.run_id: lease
        for lease in Lease.objects.filter(run_id__in=[r.pk for r in runs], expires_at__lte=now)
    }
    for run in runs:
        if lease := leases.get(run.pk):
            _rescue(run, lease, now=now)
    return len(leases)


def _rescue(run: Run, lease: Lease, *, now: datetime) -> None:
    if run.cancel_requested_at:
        finish_runs([Ending(run_id=run.pk, status=RunStatus.CANCELED, reason="canceled")], now=now)
        return
    # a woken run that was never resumed is queued for a worker that is gone
    ReadyRun.objects.filter(pk=run.pk).delete()
    if not lease.is_started:
        _return(run, now=now)
        return
    seconds = limits().lease_seconds
    failure = AttemptFailure(
        status=AttemptStatus.CRASHED,
        error=internal(
            "TASK_RUN_HEARTBEAT_TIMEOUT",
            f"its worker has not been heard of for {seconds} seconds",
        ),
    )
    if run.attempt_count < run.max_attempts:
        retry_later(run, failure, delay=policy_delay(run), now=now)
        return
    ending = Ending(
        run_id=run.pk, status=RunStatus.CRASHED, error=failure.error,
        reason=str(failure.error["message"]),
    )  # fmt: skip
    finish_runs([ending], now=now)


def _return(run: Run, *, now: datetime) -> None:
    reason = f"handed to a worker that did not start it within {limits().delivery_seconds} seconds"
    if give_up := delivery_failure(run, reason):
        finish_runs([give_up], now=now)
    else:
        put_back(run, reason, now=now)


@retried
def end_overdue_cancellations(now: datetime) -> int:
    """End runs whose worker has not stopped them within the grace period and a lease interval."""
    bounds = limits()
    grace = timedelta(seconds=bounds.cancel_grace_seconds + bounds.beat_seconds * 2)
    asked = Run.objects.filter(
        pk__in=Lease.objects.order_by("claimed_at").values("run_id"),
        cancel_requested_at__lte=now - grace,
    )
    overdue = list(asked.values_list("pk", flat=True)[:BITE])
    lock_waitpoints(runs=overdue)
    endings = [
        Ending(
            run_id=run.pk, status=RunStatus.CANCELED,
            reason="canceled; its worker did not stop in time",
        )
        for run in _lock(overdue)
    ]  # fmt: skip
    return len(finish_runs(endings, now=now))


@retried
def release_pending(now: datetime) -> int:
    """Queue runs whose task has come with a promoted version."""
    return release_pending_everywhere(now=now, most=BITE)


def make_partitions(now: datetime) -> int:
    """Make the coming days' partitions."""
    made = ensure_partitions(PARTITIONED, first=now.date(), days=limits().partition_days_ahead + 1)
    return len(made)


@retried
def forget_keys(now: datetime) -> int:
    """Drop idempotency keys that have expired."""
    expired = IdempotencyKey.objects.filter(expires_at__lte=now).order_by("expires_at")
    batch = list(expired.select_for_update(skip_locked=True).values_list("pk", flat=True)[:BITE])
    IdempotencyKey.objects.filter(pk__in=batch).delete()
    return len(batch)


def _lock(run_ids: list[UUID], *, skip_locked: bool = False) -> list[Run]:
    return list(
        Run.objects.select_for_update(no_key=True, skip_locked=skip_locked)
        .filter(Q(pk__in=run_ids), finished_at=None)
        .order_by("pk")
    )


def _record(runs: list[Run], kind: str, now: datetime) -> None:
    RunEvent.objects.bulk_create(
        RunEvent(
            run_id=run.pk, environment_id=run.environment_id, kind=kind, status=run.status,
            attempt=run.attempt_count, at=now,
        )
        for run in runs
    )  # fmt: skip


FAST: tuple[Duty, ...] = (queue_due, expire, rescue, end_overdue_cancellations)
"""Duties of every tick."""

SLOW: tuple[Duty, ...] = (make_partitions, release_pending, forget_keys)
"""Duties of about every tenth tick."""
