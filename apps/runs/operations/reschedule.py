"""Move the start of a delayed run."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from apps.core.errors import NotFound
from apps.core.facts import publish
from apps.core.transactions import retried
from apps.environments.scope import Scope
from apps.runs.errors import NotReschedulable
from apps.runs.facts import RunsNoted
from apps.runs.models import Run, RunEvent, Timer
from apps.runs.states import RunStatus, TimerKind


@retried
def reschedule_run(scope: Scope, *, run_id: UUID, delay_until: datetime, now: datetime) -> Run:
    """Start a delayed run at another time; its time to live counts from then."""
    locked = Run.objects.select_for_update(no_key=True).within(scope.environment_id)
    run = locked.filter(pk=run_id).first()
    if run is None:
        raise NotFound
    if run.status != RunStatus.DELAYED or run.attempt_count:
        raise NotReschedulable(f"only a delayed run can be rescheduled, this one is {run.status}")
    run.delayed_until, run.updated_at = delay_until, now
    run.save(update_fields=["delayed_until", "updated_at"])
    Timer.objects.filter(run_id=run.pk, kind=TimerKind.DUE).update(due_at=delay_until)
    if run.ttl_seconds:
        Timer.objects.filter(run_id=run.pk, kind=TimerKind.TTL).update(
            due_at=delay_until + timedelta(seconds=run.ttl_seconds)
        )
    RunEvent.objects.create(
        run_id=run.pk, environment_id=run.environment_id, kind="rescheduled", status=run.status,
        at=now, detail={"delayed_until": delay_until.isoformat()},
    )  # fmt: skip
    publish(RunsNoted(environment_id=run.environment_id))
    return run
