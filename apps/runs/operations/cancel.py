"""Stop runs: at once what has not started, by its worker what executes, and all descendants."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from apps.core import sql
from apps.core.errors import NotFound
from apps.core.facts import publish
from apps.core.transactions import retried
from apps.environments.scope import Scope
from apps.runs.facts import CancelRequested
from apps.runs.models import Lease, ReadyRun, Run, RunEvent
from apps.runs.operations.finish import Ending, finish_runs
from apps.runs.operations.locks import lock_waitpoints
from apps.runs.states import RunStatus

_HELD = {RunStatus.DEQUEUED, RunStatus.EXECUTING}


@retried
def cancel_run(scope: Scope, *, run_id: UUID, reason: str = "", now: datetime) -> Run:
    """Cancel a run and its descendants; one that has ended stays as it is.

    What is queued, delayed or waiting ends at once; what executes is told to stop and ends when
    its worker says so, or when its grace period is over.
    """
    if not Run.objects.within(scope.environment_id).filter(pk=run_id).exists():
        raise NotFound
    tree = [row["id"] for row in sql.rows(sql.load("runs", "open_descendants"), {"run": run_id})]
    _cancel(tree, reason or "canceled", now=now)
    return Run.objects.get(pk=run_id)


def _cancel(run_ids: Iterable[UUID], reason: str, *, now: datetime) -> None:
    wanted = sorted(run_ids)
    # in the order of all locks: places in the queue, waitpoints, runs
    list(ReadyRun.objects.select_for_update().filter(pk__in=wanted).order_by("pk"))
    lock_waitpoints(runs=wanted)
    runs = [
        run
        for run in Run.objects.select_for_update(no_key=True).filter(pk__in=wanted).order_by("pk")
        if not run.is_final
    ]
    _tell_workers(run.pk for run in runs)
    _ask([run for run in runs if run.status in _HELD], reason, now=now)
    finish_runs(
        [
            Ending(run_id=run.pk, status=RunStatus.CANCELED, reason=reason)
            for run in runs
            if run.status not in _HELD
        ],
        now=now,
    )


def _ask(runs: list[Run], reason: str, *, now: datetime) -> None:
    unasked = [run for run in runs if run.cancel_requested_at is None]
    Run.objects.filter(pk__in=[run.pk for run in unasked]).update(
        cancel_requested_at=now, status_reason=reason, updated_at=now
    )
    RunEvent.objects.bulk_create(
        RunEvent(
            run_id=run.pk, environment_id=run.environment_id, kind="cancel_requested",
            status=run.status, attempt=run.attempt_count, at=now, detail={"reason": reason},
        )
        for run in unasked
    )  # fmt: skip


def _tell_workers(run_ids: Iterable[UUID]) -> None:
    """Have the sessions that hold these runs, executing or suspended, look at them now."""
    sessions = Lease.objects.filter(pk__in=list(run_ids))
    for run_id, session_id in sessions.values_list("run_id", "session_id"):
        publish(CancelRequested(run_id=run_id, session_id=session_id))
