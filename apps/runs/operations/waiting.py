"""Runs that wait: what they wait for, how they give their slot back, how they get it again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from apps.core.ids import new_id
from apps.runs.errors import ended_as
from apps.runs.models import Lease, Run, RunEvent, Wait, Waitpoint
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
    error = None
    if run.is_final and run.status != RunStatus.COMPLETED:
        error = run.error or ended_as(run.status)
    fresh = Waitpoint(
        id=new_id(),
        environment_id=environment_id,
        kind=WaitpointKind.RUN,
        run_id=run_id,
        output=run.output,
        output_type=run.output_type,
        error=error,
        created_at=now,
        completed_at=run.finished_at,
    )
    Waitpoint.objects.bulk_create([fresh], ignore_conflicts=True)
    return Waitpoint.objects.values_list("id", flat=True).get(run_id=run_id, kind=WaitpointKind.RUN)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeWait:
    """A time that one run waits for, under an id of the run's own choice."""

    id: UUID
    environment_id: UUID
    due_at: datetime


def make_times(times: Sequence[TimeWait], *, now: datetime) -> None:
    """Make the waitpoints of these times; an id that is known keeps the time it had first."""
    Waitpoint.objects.bulk_create(
        [
            Waitpoint(
                id=time.id,
                environment_id=time.environment_id,
                kind=WaitpointKind.TIME,
                due_at=time.due_at,
                created_at=now,
                completed_at=now if time.due_at <= now else None,
            )
            # in one order, since two that insert the same id wait for each other
            for time in sorted(times, key=lambda time: time.id)
        ],
        ignore_conflicts=True,
    )


def suspend_run(run: Run, waitpoint_ids: Sequence[UUID], *, needs_all: bool, now: datetime) -> None:
    """Take the slot of a blocked run; it is woken at once when what it waits for has happened.

    A worker says it again after a broken connection, and when the run waits for more. The caller
    holds the locks of the waitpoints and the run, and has checked the generation.
    """
    is_woken = run.status == RunStatus.QUEUED
    if not is_woken:  # what woke it must still be told
        Wait.objects.filter(run_id=run.pk).exclude(waitpoint_id__in=waitpoint_ids).delete()
    Wait.objects.bulk_create(
        [
            Wait(run_id=run.pk, waitpoint_id=waitpoint_id, needs_all=needs_all, created_at=now)
            for waitpoint_id in dict.fromkeys(waitpoint_ids)
        ],
        update_conflicts=True,
        update_fields=["needs_all"],
        unique_fields=["run_id", "waitpoint_id"],
    )
    if run.status == RunStatus.EXECUTING:
        _give_slot_back(run, waitpoint_ids, now=now)
    if not is_woken:
        wake_waiters(
            Waitpoint.objects.filter(
                pk__in=waitpoint_ids, completed_at__isnull=False
            ).values_list("id", flat=True),
            now=now,
        )  # fmt: skip


def _give_slot_back(run: Run, waitpoint_ids: Sequence[UUID], *, now: datetime) -> None:
    release_leases([run.pk], keep=True)
    run.status, run.updated_at = RunStatus.WAITING, now
    run.save(update_fields=["status", "updated_at"])
    RunEvent.objects.create(
        run_id=run.pk, environment_id=run.environment_id, kind="waiting",
        status=run.status, attempt=run.attempt_count, at=now,
        detail={"waitpoints": [str(identifier) for identifier in waitpoint_ids]},
    )  # fmt: skip


def waiting_for(waitpoint_ids: Iterable[UUID]) -> list[UUID]:
    """The runs that wait for any of these waitpoints."""
    wanted = list(waitpoint_ids)
    waits = Wait.objects.filter(waitpoint_id__in=wanted).values_list("run_id", flat=True)
    return list(waits) if wanted else []


def wake_waiters(waitpoint_ids: Iterable[UUID], *, now: datetime) -> None:
    """Queue the runs that these completed waitpoints release, at the workers that hold them; those
    that nobody holds any more, for any worker.

    Those that wait for all, and have an open one left, wait on.
    """
    completed = list(waitpoint_ids)
    if not completed:
        return
    waiters = Wait.objects.filter(waitpoint_id__in=completed).values("run_id")
    waiting = Run.objects.select_for_update(no_key=True).defer("payload", "output").order_by("pk")
    runs = {run.pk: run for run in waiting.filter(pk__in=waiters, status=RunStatus.WAITING)}
    if not runs:
        return
    # Asked under the locks: of two waitpoints that complete at the same moment, one sees both.
    blocked = set(
        Wait.objects.filter(
            run_id__in=list(runs), needs_all=True, waitpoint__completed_at=None
        ).values_list("run_id", flat=True)
    )
    sessions = dict(
        Lease.objects.filter(run_id__in=runs.keys() - blocked).values_list("run_id", "session_id")
    )
    awake = [
        run
        for run in runs.values()
        if run.pk in sessions or (run.suspended_attempt_id and run.pk not in blocked)
    ]
    _queue_for_resume(awake, sessions, now=now)


def _queue_for_resume(runs: Sequence[Run], sessions: dict[UUID, UUID], *, now: datetime) -> None:
    if not runs:
        return
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
