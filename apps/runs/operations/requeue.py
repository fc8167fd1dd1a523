"""Put a run back that nobody is at work on, without waiting until the engine would."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from apps.core.errors import Conflict, NotFound
from apps.core.ids import public_id
from apps.core.transactions import retried
from apps.deployments.models import WorkerSession
from apps.environments.scope import Scope
from apps.orgs import audit
from apps.orgs.permissions import Permission, require
from apps.runs.models import Lease, Run, Timer
from apps.runs.states import RunStatus, TimerKind


@retried
def requeue_run(scope: Scope, *, run_id: UUID, now: datetime) -> Run:
    """Let a run be taken back from a worker that is gone, or a delayed one be queued now.

    It only brings forward what the engine does by itself: a lease that is over is taken back at its
    next look, which fences the worker out should it still live, and counts the attempt; a delay
    that is over queues its run. A run whose worker is connected stays with it: Conflict.
    """
    require(scope.actor, Permission.RUNS_WRITE)
    locked = Run.objects.select_for_update(no_key=True).within(scope.environment_id)
    run = locked.filter(pk=run_id).first()
    if run is None:
        raise NotFound
    if run.status == RunStatus.DELAYED:
        _end_delay(run, now)
    else:
        _end_lease(run, now)
    audit.record(
        scope.organization,
        action="run.requeued",
        target=("run", public_id("run", run.pk)),
        detail={"status": run.status},
        now=now,
    )
    return run


def _end_delay(run: Run, now: datetime) -> None:
    run.delayed_until, run.updated_at = now, now
    run.save(update_fields=["delayed_until", "updated_at"])
    Timer.objects.filter(run_id=run.pk, kind=TimerKind.DUE).update(due_at=now)


def _end_lease(run: Run, now: datetime) -> None:
    lease = Lease.objects.select_for_update().filter(pk=run.pk).first()
    if lease is None:
        raise Conflict(f"no worker has this run, which is {run.status}: there is nothing to undo")
    sessions = WorkerSession.objects.filter(pk=lease.session_id, disconnected_at=None)
    if sessions.exists():
        raise Conflict("its worker is connected and keeps it; cancel the run instead")
    lease.expires_at = min(lease.expires_at, now)
    lease.save(update_fields=["expires_at"])
