"""Runs and versions: what waits for its task to be shipped, and what a new version releases."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from apps.core import sql
from apps.core.transactions import retried
from apps.deployments import definitions
from apps.deployments.models import Queue
from apps.runs.models import Lane, PendingRun, Run, RunEvent
from apps.runs.operations.queueing import make_ready
from apps.runs.states import RunStatus

_MOST = 1_000


@retried
def release_pending(environment_id: UUID, *, now: datetime) -> int:
    """Queue the runs of this environment that waited for a version with their task."""
    released = 0
    while bite := _release(environment_id, now=now, most=_MOST):
        released += bite
    return released


def release_pending_everywhere(*, now: datetime, most: int) -> int:
    """The same for all environments, one bite: what a promotion at the same moment overlooked."""
    return _release(None, now=now, most=most)


def _release(environment_id: UUID | None, *, now: datetime, most: int) -> int:
    rows = sql.rows(
        sql.load("runs", "releasable_runs"), {"environment": environment_id, "most": most}
    )
    ids = [row["run_id"] for row in rows]
    locked = Run.objects.select_for_update(no_key=True).filter(
        pk__in=ids, status=RunStatus.PENDING_VERSION
    )
    runs = list(locked.order_by("pk"))
    PendingRun.objects.filter(pk__in=ids).delete()
    for run in runs:
        current = definitions.current_version(run.environment_id)
        known = current and definitions.definition(current, run.task)
        if known and run.queue == f"task/{run.task}":
            run.queue = known.queue_name
        run.status, run.queued_at, run.updated_at = RunStatus.QUEUED, now, now
    Run.objects.bulk_update(runs, ["status", "queue", "queued_at", "updated_at"])
    _record(runs, "queued", now)
    make_ready(runs, now=now)
    return len(ids)


def park_unknown(runs: list[Run], *, now: datetime) -> list[Run]:
    """Park the never-started runs whose task no version has; returns the others."""
    parked: list[Run] = []
    known: list[Run] = []
    for run in runs:
        current = definitions.current_version(run.environment_id)
        is_known = run.version_id or (current and definitions.definition(current, run.task))
        (known if is_known else parked).append(run)
    for run in parked:
        run.status, run.updated_at, run.delayed_until = RunStatus.PENDING_VERSION, now, None
    Run.objects.bulk_update(parked, ["status", "updated_at", "delayed_until"])
    PendingRun.objects.bulk_create(
        PendingRun(run_id=run.pk, environment_id=run.environment_id, task=run.task)
        for run in parked
    )
    _record(parked, "pending_version", now)
    return known


def apply_queues(environment_id: UUID) -> None:
    """Bring the lanes of an environment in line with its queues' limits and pauses."""
    for queue in Queue.objects.filter(environment_id=environment_id):
        Lane.objects.filter(environment_id=environment_id, queue=queue.name).update(
            cap=queue.effective_limit, is_paused=queue.paused_at is not None
        )


def _record(runs: list[Run], kind: str, now: datetime) -> None:
    RunEvent.objects.bulk_create(
        RunEvent(
            run_id=run.pk, environment_id=run.environment_id, kind=kind, status=run.status,
            attempt=run.attempt_count, at=now,
        )
        for run in runs
    )  # fmt: skip
