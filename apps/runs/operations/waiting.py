"""Runs that wait: what they wait for, how they give their slot back, how they get it again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from apps.core import sql
from apps.core.ids import new_id, public_id
from apps.core.transactions import retried
from apps.runs.errors import ended_as
from apps.runs.models import Run, Wait, Waitpoint, Waking
from apps.runs.operations.locks import tell_of_room
from apps.runs.operations.queueing import open_lanes, place_of
from apps.runs.states import RunStatus, WaitpointKind
from holdfast.protocol import WaitpointResult

WAITERS_AT_ONCE = 500


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
    sql.execute(
        sql.load("runs", "make_times"),
        {
            "ids": [time.id for time in times],
            "environments": [time.environment_id for time in times],
            "dues": [time.due_at for time in times],
            "now": now,
        },
    )


# -- Falling asleep --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspension:
    """A run that waits from now on.

    `executed_ms` it has executed since it was handed out; they are added once its worker, which
    `releases` it, keeps nothing of it any more. What `has_left` its process is let go in any case.
    """

    run_id: UUID
    waitpoint_ids: Sequence[UUID]
    needs_all: bool = False
    releases: bool = False
    has_left: bool = False
    executed_ms: int = 0


def suspend_runs(suspensions: Sequence[Suspension], *, now: datetime) -> set[UUID]:
    """Take the slots of blocked runs; returns those whose workers need keep nothing of them.

    One whose wait is over already is woken at once, at its worker if that has kept it. A worker
    says a suspension again after a broken connection, and when its run waits for more. The caller
    holds the locks of the waitpoints and the runs, and has checked the generations; no run is named
    twice.
    """
    if not suspensions:
        return set()
    pairs = [
        (each.run_id, waitpoint_id)
        for each in suspensions
        for waitpoint_id in dict.fromkeys(each.waitpoint_ids)
    ]
    rows = sql.rows(
        sql.load("runs", "suspend"),
        {
            "runs": [each.run_id for each in suspensions],
            "alls": [each.needs_all for each in suspensions],
            "releases": [each.releases for each in suspensions],
            "lefts": [each.has_left for each in suspensions],
            "executed": [each.executed_ms for each in suspensions],
            "waiters": [run_id for run_id, _ in pairs],
            "waitpoints": [waitpoint_id for _, waitpoint_id in pairs],
            "now": now,
        },
    )
    tell_of_room({environment_id for row in rows for environment_id in row["unblocked"]})
    _wake([row["run_id"] for row in rows if row["is_over"]], now=now)
    _offer([row["run_id"] for row in rows if row["is_for_any"]], now=now)
    return {row["run_id"] for row in rows if row["is_let_go"]}


def _offer(run_ids: Sequence[UUID], *, now: datetime) -> None:
    """Have any worker find these runs, which were ready for one that held their processes only.

    Meanwhile their lanes may have been closed, since they had nothing for all.
    """
    if not run_ids:
        return
    runs = list(Run.objects.defer("payload", "output").filter(pk__in=run_ids))
    open_lanes({place_of(run) for run in runs}, now=now)
    tell_of_room({run.environment_id for run in runs})


# -- Waking ----------------------------------------------------------------------------------------


def waiting_for_ends(run_ids: Iterable[UUID]) -> list[UUID]:
    """The runs that wait for the end of any of these."""
    ends = Wait.objects.filter(
        waitpoint__kind=WaitpointKind.RUN, waitpoint__run_id__in=list(run_ids)
    )
    return list(ends.values_list("run_id", flat=True))


def wake_waiters(waitpoint_ids: Iterable[UUID], *, now: datetime) -> None:
    """Queue the runs that these completed waitpoints release, at the workers that hold them; those
    that nobody holds any more, for any worker.

    Those that wait for all, and have an open one left, wait on. When there are more than a bite,
    the first of them are woken here and the others by the engine: `wake_more`.
    """
    completed = list(waitpoint_ids)
    if completed and (after := _wake_bite(completed, None, now=now)):
        Waking.objects.bulk_create(Waking(waitpoint_id=each, after=after) for each in completed)


@retried
def wake_more(now: datetime) -> int:
    """Wake the next bite of the waiters of waitpoints that have more of them; 0 when none has.

    The marks move on, or go, in the transaction that wakes: each waiter is woken once, whenever an
    engine dies. What ends a run's wait in between finds it waiting no more.
    """
    marks = Waking.objects.select_for_update(skip_locked=True).order_by("after", "pk")
    first = marks.first()
    if first is None:
        return 0
    completed = list(marks.filter(after=first.after).values_list("pk", flat=True))
    mine = Waking.objects.filter(pk__in=completed)
    after = _wake_bite(completed, first.after, now=now)
    if after is None:
        mine.delete()
    else:
        mine.update(after=after)
    return WAITERS_AT_ONCE  # there may be others: a full bite has the engine look again at once


def _wake_bite(waitpoints: Sequence[UUID], after: UUID | None, *, now: datetime) -> UUID | None:
    """Wake some of the waiters; returns the last of them when there may be more."""
    asked = {"waitpoints": waitpoints, "after": after, "most": WAITERS_AT_ONCE}
    waiters = sql.rows(sql.load("runs", "waiters"), asked)
    _wake([row["id"] for row in waiters if row["is_waiting"]], now=now)
    return waiters[-1]["id"] if len(waiters) == WAITERS_AT_ONCE else None


def _wake(run_ids: Sequence[UUID], *, now: datetime) -> None:
    """Queue those of these runs that need wait no longer; their locks are held."""
    if not run_ids:
        return
    awake = sql.rows(sql.load("runs", "released_runs"), {"runs": list(run_ids)})
    if not awake:
        return
    places = [(row["environment_id"], row["queue"], row["key"], row["task"]) for row in awake]
    lanes = open_lanes(set(places), now=now)
    sql.execute(
        sql.load("runs", "wake"),
        {
            "runs": [row["id"] for row in awake],
            "lanes": [lanes[place] for place in places],
            "sessions": [row["session_id"] for row in awake],
            "now": now,
        },
    )
    tell_of_room({row["environment_id"] for row in awake})


def completed_waits(run_ids: Iterable[UUID]) -> dict[UUID, list[WaitpointResult]]:
    """What these runs waited for and has completed; it stays until they wait again or end, so
    that a worker whose connection broke can be told again."""
    wanted = list(run_ids)
    results: dict[UUID, list[WaitpointResult]] = {}
    if wanted:
        for row in sql.rows(sql.load("runs", "completed_waits"), {"runs": wanted}):
            results.setdefault(row["run_id"], []).append(_result(row))
    return results


def _result(row: Mapping[str, Any]) -> WaitpointResult:
    error = row["error"]
    return WaitpointResult(
        id=public_id("waitpoint", row["id"]),
        ok=error is None,
        run=public_id("run", row["of_run_id"]) if row["of_run_id"] else None,
        output=row["output"],
        output_type=row["output_type"],
        error=json.loads(error) if isinstance(error, str) else error,  # raw rows carry text
        key=row["key"],
        seq=row["seq"],
        due_ms=_milliseconds(row["due_at"]) if row["key"] else None,
    )


def _milliseconds(moment: datetime | None) -> int | None:
    return None if moment is None else round(moment.timestamp() * 1000)
