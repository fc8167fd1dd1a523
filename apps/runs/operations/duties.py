"""What the engine does by itself, for ever: each duty takes a bounded bite, any number of engines.

A duty returns how many rows it moved; a full bite means that there is more to do at once. Runs
that another works on are left for the next look, so duties need neither a leader nor each other.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID

from apps.core import sql
from apps.core.partitions import ensure_partitions
from apps.core.transactions import retried
from apps.deployments.models import Instance, InstanceState, WorkerSession
from apps.deployments.operations import queues
from apps.runs.errors import internal
from apps.runs.limits import limits
from apps.runs.models import (
    PARTITIONED,
    IdempotencyKey,
    Lease,
    Run,
    RunEvent,
    Timer,
)
from apps.runs.operations.batch import abandon_batches
from apps.runs.operations.finish import Ending, finish_runs
from apps.runs.operations.locks import lock_places, lock_slots
from apps.runs.operations.queueing import make_ready
from apps.runs.operations.retention import forget_history
from apps.runs.operations.retry import (
    AttemptFailure,
    delivery_failure,
    put_back,
    retry_or_end,
)
from apps.runs.operations.versions import (
    apply_queues_everywhere,
    park_unknown,
    release_pending_everywhere,
)
from apps.runs.operations.waiting import wake_more
from apps.runs.operations.waitpoints import complete_due, forget_waitpoints
from apps.runs.states import AttemptStatus, RunStatus, TimerKind

BITE = 500
_WAITABLE = (RunStatus.QUEUED, RunStatus.DELAYED, RunStatus.PENDING_VERSION)

Duty = Callable[[datetime], int]


@retried
def queue_due(now: datetime) -> int:
    """Queue the runs whose delay, or whose time until the next attempt, is over."""
    due = _take_due(TimerKind.DUE, now)
    known = park_unknown([run for run in due if run.status == RunStatus.DELAYED], now=now)
    for run in known:
        run.status, run.updated_at, run.delayed_until = RunStatus.QUEUED, now, None
        # one that no worker has started yet keeps its place
        run.queued_at = run.queued_at if run.delivery_count and run.queued_at else now
    Run.objects.bulk_update(known, ["status", "queued_at", "updated_at", "delayed_until"])
    _record(known, "queued", now)
    make_ready(known, now=now)
    return len(due)


@retried
def expire(now: datetime) -> int:
    """End the runs that have not started within their time to live."""
    due = [run for run in _take_due(TimerKind.TTL, now) if run.started_at is None]
    finish_runs(
        [
            Ending(
                run_id=run.pk,
                status=RunStatus.EXPIRED,
                reason=f"not started within {run.ttl_seconds} seconds",
                error=internal("TASK_RUN_EXPIRED", f"not started within {run.ttl_seconds} seconds"),
            )
            for run in due
            if run.status in _WAITABLE
        ],
        now=now,
    )
    # what a worker has been given is looked at again when it must have started
    delivery = timedelta(seconds=limits().delivery_seconds)
    Timer.objects.bulk_create(
        Timer(run_id=run.pk, kind=TimerKind.TTL, due_at=now + delivery)
        for run in due
        if run.status == RunStatus.DEQUEUED
    )
    return len(due)


@retried
def end_overdue_cancellations(now: datetime) -> int:
    """End runs whose worker has not stopped them within the grace period and two beats."""
    endings = [
        Ending(
            run_id=run.pk, status=RunStatus.CANCELED,
            reason=f"{run.status_reason}; its worker did not stop in time",
        )
        for run in _take_due(TimerKind.CANCEL, now)
    ]  # fmt: skip
    finish_runs(endings, now=now)
    return len(endings)


def _take_due(kind: TimerKind, now: datetime) -> list[Run]:
    """The open runs whose timer is over, locked, and the timers gone."""
    timers = Timer.objects.filter(kind=kind, due_at__lte=now)
    due = list(timers.order_by("due_at").values_list("run_id", flat=True)[:BITE])
    if not due:
        return []
    lock_places(runs=due)
    runs = {run.pk: run for run in _lock(due)}
    # asked again under the locks: a timer may have been moved meanwhile
    mine = timers.filter(run_id__in=list(runs))
    taken = list(mine.values_list("run_id", flat=True))
    mine.delete()
    return [runs[run_id] for run_id in taken if not runs[run_id].is_final]


@retried
def rescue(now: datetime) -> int:
    """Take back runs whose lease is over: undelivered ones to the queue, others to a retry."""
    expired = list(
        Lease.objects.filter(expires_at__lte=now)
        .order_by("expires_at")
        .values_list("run_id", flat=True)[:BITE]
    )
    if not expired:
        return 0
    lock_places(runs=expired)
    runs = _lock(expired)
    # asked again, and locked, under the runs' locks: a beat may have come in between
    leases = {
        lease.run_id: lease
        for lease in Lease.objects.select_for_update()
        .filter(run_id__in=[run.pk for run in runs], expires_at__lte=now)
        .order_by("run_id")
    }
    lost = [run for run in runs if run.pk in leases]
    lock_slots([run.pk for run in lost])
    canceled = [run for run in lost if run.cancel_requested_at]
    finish_runs([Ending(run_id=run.pk, status=RunStatus.CANCELED) for run in canceled], now=now)
    _return([r for r in lost if r not in canceled and not leases[r.pk].is_started], now=now)
    ends = _ends([lease.session_id for lease in leases.values() if lease.is_started])
    for run in lost:
        lease = leases[run.pk]
        if run not in canceled and lease.is_started:
            retry_or_end(run, _loss(ends.get(lease.session_id)), now=now)
    return len(lost)


def _return(runs: list[Run], *, now: datetime) -> None:
    reason = f"handed to a worker that did not start it within {limits().delivery_seconds} seconds"
    given_up = {run.pk: delivery_failure(run, reason) for run in runs}
    finish_runs([ending for ending in given_up.values() if ending], now=now)
    kept = [run for run in runs if not given_up[run.pk]]
    put_back(kept, dict.fromkeys(given_up, reason), now=now)


def _ends(session_ids: list[UUID]) -> dict[UUID, str]:
    """What is known of the end of those workers that a provider saw ending."""
    sessions = WorkerSession.objects.filter(pk__in=session_ids, instance_id__isnull=False)
    instances = dict(sessions.values_list("instance_id", "id"))
    ended = Instance.objects.filter(
        pk__in=list(instances), state__in=[InstanceState.STOPPED, InstanceState.FAILED]
    )
    return {instances[pk]: reason for pk, reason in ended.values_list("id", "reason")}


def _loss(end: str | None) -> AttemptFailure:
    """How an attempt was lost: with a worker whose end was seen, or with one that went quiet."""
    silence = f"its worker has not been heard of for {limits().lease_seconds} seconds"
    text = silence if end is None else f"its worker ended: {end or 'nobody knows why'}"
    return AttemptFailure(
        status=AttemptStatus.CRASHED, error=internal("TASK_RUN_HEARTBEAT_TIMEOUT", text)
    )


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


@retried
def adopt_queues(now: datetime) -> int:
    """Bring lanes in line with their queues where the word of a change was lost."""
    return apply_queues_everywhere(most=BITE, now=now)


@retried
def close_queues(now: datetime) -> int:
    """Close queues that no lane is open in, so that claims need not look at them."""
    return sql.execute(sql.load("runs", "close_queues"), {"most": BITE})


@retried
def lapse_overrides(now: datetime) -> int:
    """Let the queue's limit count again for keys whose own one was for a while only."""
    return queues.lapse_overrides(most=BITE, now=now)


@retried
def forget_lanes(now: datetime) -> int:
    """Remove the lanes of concurrency keys that nothing has been heard of for long."""
    before = now - timedelta(seconds=limits().lane_idle_seconds)
    return sql.execute(
        sql.load("runs", "forget_lanes"), {"before": before, "now": now, "most": BITE}
    )


def _lock(run_ids: list[UUID]) -> list[Run]:
    """These runs, locked, without those that another works on now."""
    return list(
        Run.objects.select_for_update(no_key=True, skip_locked=True)
        .defer("payload", "output")
        .filter(pk__in=run_ids)
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


def look(now: datetime) -> dict[str, bool]:
    """Which of the duties of every tick have something to do, by their names."""
    (found,) = sql.rows(sql.load("runs", "due"), {"now": now})
    return found


FAST: tuple[Duty, ...] = (
    queue_due, complete_due, wake_more, expire, rescue, end_overdue_cancellations,
)  # fmt: skip
"""Duties of every tick."""

SLOW: tuple[Duty, ...] = (
    make_partitions, release_pending, adopt_queues, forget_keys, forget_waitpoints,
    abandon_batches, forget_history, close_queues, forget_lanes, lapse_overrides,
)  # fmt: skip
"""Duties of about every tenth tick."""
