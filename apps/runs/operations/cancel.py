"""Stop runs: at once what has not started, by its worker what executes, and all descendants."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from apps.core import sql
from apps.core.errors import NotFound
from apps.core.facts import publish
from apps.core.transactions import retried
from apps.environments.scope import Scope
from apps.runs.facts import CancelRequested
from apps.runs.limits import limits
from apps.runs.models import Lease, Run, RunEvent, Timer
from apps.runs.operations.finish import Ending, finish_runs
from apps.runs.operations.locks import lock_places
from apps.runs.states import RunStatus, TimerKind

_HELD = {RunStatus.DEQUEUED, RunStatus.EXECUTING}


@retried
def cancel_run(scope: Scope, *, run_id: UUID, reason: str = "", now: datetime) -> Run:
    """Cancel a run and its descendants; one that has ended stays as it is.

    What is queued, delayed or waiting ends at once; what executes is told to stop and ends when
    its worker says so, or when its grace period is over.
    """
    run = Run.objects.within(scope.environment_id).filter(pk=run_id).first()
    if run is None:
        raise NotFound
    if run.is_final:
        return run
    runs = [run for run in _lock_tree(run_id) if not run.is_final]
    _tell_workers(runs)
    _ask([run for run in runs if run.status in _HELD], reason or "canceled", now=now)
    finish_runs(
        [
            Ending(run_id=run.pk, status=RunStatus.CANCELED, reason=reason or "canceled")
            for run in runs
            if run.status not in _HELD
        ],
        now=now,
    )
    return Run.objects.get(pk=run_id)


def _lock_tree(run_id: UUID) -> list[Run]:
    """The run and its descendants, locked, and those that they got while this waited for locks.

    Who triggers a child holds a lock on the parent that only this full one waits for.
    """
    seen: set[UUID] = set()
    runs: list[Run] = []
    while fresh := _open_tree(run_id) - seen:
        lock_places(runs=fresh)
        runs += (
            Run.objects.select_for_update()
            .defer("payload", "output")
            .filter(pk__in=fresh)
            .order_by("pk")
        )
        seen |= fresh
    return runs


def _open_tree(run_id: UUID) -> set[UUID]:
    return {row["id"] for row in sql.rows(sql.load("runs", "open_descendants"), {"run": run_id})}


def _ask(runs: Sequence[Run], reason: str, *, now: datetime) -> None:
    """Have the workers of these runs stop them, and a timer end what they do not."""
    unasked = [run for run in runs if run.cancel_requested_at is None]
    Run.objects.filter(pk__in=[run.pk for run in unasked]).update(
        cancel_requested_at=now, status_reason=reason, updated_at=now
    )
    bounds = limits()
    patience = timedelta(seconds=bounds.cancel_grace_seconds + 2 * bounds.beat_seconds)
    Timer.objects.bulk_create(
        Timer(run_id=run.pk, kind=TimerKind.CANCEL, due_at=now + patience) for run in unasked
    )
    RunEvent.objects.bulk_create(
        RunEvent(
            run_id=run.pk, environment_id=run.environment_id, kind="cancel_requested",
            status=run.status, attempt=run.attempt_count, at=now, detail={"reason": reason},
        )
        for run in unasked
    )  # fmt: skip


def _tell_workers(runs: Iterable[Run]) -> None:
    """Have the sessions that hold these runs, executing or suspended, look at them now."""
    sessions = Lease.objects.filter(pk__in=[run.pk for run in runs])
    for run_id, session_id in sessions.values_list("run_id", "session_id"):
        publish(CancelRequested(run_id=run_id, session_id=session_id))
