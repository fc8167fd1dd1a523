"""Runs and versions: what waits for its task to be shipped, and what a new version releases."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from apps.core import sql
from apps.core.facts import publish
from apps.core.transactions import retried
from apps.deployments import definitions
from apps.deployments.definitions import TaskDefinition
from apps.runs import policy
from apps.runs.facts import RunsReady
from apps.runs.limits import limits
from apps.runs.models import PendingRun, Run, RunEvent
from apps.runs.operations.queueing import make_ready
from apps.runs.states import RunStatus
from holdfast.machines import DEFAULT_MACHINE

_MOST = 1_000


def release_pending(environment_id: UUID, *, now: datetime) -> int:
    """Queue the runs of this environment that waited for a version with their task."""
    released = 0
    while bite := _release(environment_id, now=now, most=_MOST):
        released += bite
    return released


def release_pending_everywhere(*, now: datetime, most: int) -> int:
    """The same for all environments, one bite: what a promotion at the same moment overlooked."""
    return _release(None, now=now, most=most)


@retried
def _release(environment_id: UUID | None, *, now: datetime, most: int) -> int:
    rows = sql.rows(
        sql.load("runs", "releasable_runs"), {"environment": environment_id, "most": most}
    )
    locked = Run.objects.select_for_update(no_key=True, skip_locked=True).defer("payload")
    wanted = [row["run_id"] for row in rows]
    runs = list(locked.filter(pk__in=wanted, finished_at=None).order_by("pk"))
    known = _current_definitions(runs)
    for run in runs:
        if found := known[run.pk]:
            _adopt(run, found)
    ready = [run for run in runs if run.status == RunStatus.PENDING_VERSION and known[run.pk]]
    for run in ready:
        run.status, run.queued_at, run.updated_at = RunStatus.QUEUED, now, now
    Run.objects.bulk_update(
        runs,
        [
            "status", "queue", "machine", "max_attempts", "max_duration_seconds", "queued_at",
            "updated_at",
        ],
    )  # fmt: skip
    PendingRun.objects.filter(pk__in=[run.pk for run in runs if known[run.pk]]).delete()
    _record(ready, "queued", now)
    make_ready(ready, now=now)
    return len(runs)


def _adopt(run: Run, task: TaskDefinition) -> None:
    """Take over what the task says, where the run has what runs of unknown tasks get."""
    default_attempts = limits().default_attempts
    if run.queue == policy.own_queue(run.task):
        run.queue = task.queue_name
    if run.machine == DEFAULT_MACHINE:
        run.machine = task.machine
    if run.max_attempts == default_attempts:
        run.max_attempts = min(task.max_attempts or default_attempts, limits().attempts_per_run)
    if run.max_duration_seconds is None:
        run.max_duration_seconds = task.max_duration_seconds


def park_unknown(runs: list[Run], *, now: datetime) -> list[Run]:
    """Park the never-started runs whose task no version has; returns the others."""
    definitions_of = _current_definitions(run for run in runs if not run.version_id)
    parked = [run for run in runs if not run.version_id and not definitions_of[run.pk]]
    for run in parked:
        run.status, run.updated_at, run.delayed_until = RunStatus.PENDING_VERSION, now, None
    Run.objects.bulk_update(parked, ["status", "updated_at", "delayed_until"])
    PendingRun.objects.bulk_create(
        (
            PendingRun(run_id=run.pk, environment_id=run.environment_id, task=run.task)
            for run in parked
        ),
        ignore_conflicts=True,
    )
    _record(parked, "pending_version", now)
    unknown = {run.pk for run in parked}
    return [run for run in runs if run.pk not in unknown]


def _current_definitions(runs: Iterable[Run]) -> dict[UUID, TaskDefinition | None]:
    """What the current version of each run's environment says about its task."""
    wanted = list(runs)
    currents = {
        environment_id: definitions.current_version(environment_id)
        for environment_id in {run.environment_id for run in wanted}
    }
    found: dict[UUID, TaskDefinition | None] = {}
    for run in wanted:
        current = currents[run.environment_id]
        found[run.pk] = definitions.definition(current, run.task) if current else None
    return found


def apply_queues(environment_id: UUID, *, now: datetime) -> None:
    """Bring the lanes of an environment in line with what its queues declare and override."""
    while _apply_queues(environment_id, most=_MOST, now=now) >= _MOST:
        pass
    publish(RunsReady(environment_id=environment_id))  # a limit may have been raised


def apply_queues_everywhere(*, most: int, now: datetime) -> int:
    """The same for all environments, one bite: what was overlooked."""
    return _apply_queues(None, most=most, now=now)


@retried
def _apply_queues(environment_id: UUID | None, *, most: int, now: datetime) -> int:
    (row,) = sql.rows(
        sql.load("runs", "apply_queues"),
        {"environment": environment_id, "most": most, "now": now},
    )
    return max(int(row["lanes"]), int(row["queues"]))


def _record(runs: list[Run], kind: str, now: datetime) -> None:
    RunEvent.objects.bulk_create(
        RunEvent(
            run_id=run.pk, environment_id=run.environment_id, kind=kind, status=run.status,
            attempt=run.attempt_count, at=now,
        )
        for run in runs
    )  # fmt: skip
