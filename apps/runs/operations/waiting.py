"""Runs that wait: what they wait for, how they give their slot back, how they get it again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from apps.core import sql
from apps.core.ids import new_id
from apps.runs.models import Run, RunEvent, Wait, Waitpoint
from apps.runs.operations.locks import release_leases
from apps.runs.operations.queueing import make_ready
from apps.runs.states import RunStatus, WaitpointKind


def waitpoint_for_run(environment_id: UUID, run_id: UUID, *, now: datetime) -> UUID:
    """The waitpoint that completes when this run ends; completed already when it has ended."""
    run = (
        Run.objects.select_for_update(no_key=True)
        .only("id", "status", "output", "output_type", "error", "finished_at")
        .get(pk=run_id)
    )
    fresh = Waitpoint(
        id=new_id(),
        environment_id=environment_id,
        kind=WaitpointKind.RUN,
        run_id=run_id,
        output=run.output,
        output_type=run.output_type,
        error=run.error if run.status != RunStatus.COMPLETED else None,
        created_at=now,
        completed_at=run.finished_at,
    )
    Waitpoint.objects.bulk_create([fresh], ignore_conflicts=True)
    return Waitpoint.objects.values_list("id", flat=True).get(run_id=run_id, kind=WaitpointKind.RUN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspension:
    """A run that its worker reports as blocked."""

    run_id: UUID
    waitpoint_ids: tuple[UUID, ...]
    needs_all: bool


def suspend_run(run: Run, suspension: Suspension, *, now: datetime) -> None:
    """Take the slot of a blocked run; it is woken at once when what it waits for has happened.

    The caller holds the locks of the waitpoints and the run, and has checked the generation.
    """
    Wait.objects.filter(run_id=run.pk).exclude(waitpoint_id__in=suspension.waitpoint_ids).delete()
    Wait.objects.bulk_create(
        [
            Wait(
                run_id=run.pk, waitpoint_id=waitpoint_id,
                needs_all=suspension.needs_all, created_at=now,
            )
            for waitpoint_id in suspension.waitpoint_ids
        ],
        update_conflicts=True,
        update_fields=["needs_all"],
        unique_fields=["run_id", "waitpoint_id"],
    )  # fmt: skip
    if run.status == RunStatus.QUEUED:
        return  # woken already: the worker repeats itself after a broken connection, or adds to it
    release_leases([run.pk], keep=True)
    run.status, run.updated_at = RunStatus.WAITING, now
    run.save(update_fields=["status", "updated_at"])
    RunEvent.objects.create(
        run_id=run.pk, environment_id=run.environment_id, kind="waiting",
        status=run.status, attempt=run.attempt_count, at=now,
        detail={"waitpoints": [str(identifier) for identifier in suspension.waitpoint_ids]},
    )  # fmt: skip
    wake_waiters(suspension.waitpoint_ids, now=now, only_completed=True)


def wake_waiters(
    waitpoint_ids: Iterable[UUID], *, now: datetime, only_completed: bool = False
) -> None:
    """Queue the runs that these completed waitpoints release, at the workers that hold them."""
    completed = list(waitpoint_ids)
    if only_completed:
        completed = list(
            Waitpoint.objects.filter(pk__in=completed, completed_at__isnull=False).values_list(
                "id", flat=True
            )
        )
    if not completed:
        return
    rows = sql.rows(sql.load("runs", "wake_waiters"), {"waitpoints": completed})
    sessions = {row["id"]: row["session_id"] for row in rows if row["session_id"]}
    queue_for_resume(list(Run.objects.filter(pk__in=sessions)), sessions, now=now)


def queue_for_resume(runs: Sequence[Run], sessions: dict[UUID, UUID], *, now: datetime) -> None:
    """Move waiting runs to the queue, before younger ones; the caller holds their locks."""
    Run.objects.filter(pk__in=[run.pk for run in runs]).update(
        status=RunStatus.QUEUED, updated_at=now
    )
    RunEvent.objects.bulk_create(
        RunEvent(
            run_id=run.pk, environment_id=run.environment_id, kind="woken",
            status=RunStatus.QUEUED, attempt=run.attempt_count, at=now,
        )
        for run in runs
    )  # fmt: skip
    make_ready(runs, now=now, holders=sessions)


def completed_waits(run_ids: Iterable[UUID]) -> dict[UUID, list[Waitpoint]]:
    """What these runs waited for and has completed; it stays until they wait again or end, so
    that a worker whose connection broke can be told again."""
    waits = Wait.objects.filter(
        run_id__in=list(run_ids), waitpoint__completed_at__isnull=False
    ).select_related("waitpoint")
    results: dict[UUID, list[Waitpoint]] = {}
    for wait in waits.order_by("waitpoint__completed_at"):
        results.setdefault(wait.run_id, []).append(wait.waitpoint)
    return results
