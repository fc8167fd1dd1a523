"""What becomes of an attempt that did not succeed: another one, or the run's end."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from apps.deployments.models import Task
from apps.runs import policy
from apps.runs.limits import limits
from apps.runs.models import Attempt, Lease, Run, RunEvent, Timer
from apps.runs.operations.locks import release_leases
from apps.runs.operations.queueing import make_ready
from apps.runs.states import AttemptStatus, RunStatus, TimerKind

_chance = random.SystemRandom()


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFailure:
    """How an attempt failed."""

    status: AttemptStatus
    error: dict[str, Any]
    executed_ms: int = 0


def policy_delay(run: Run) -> timedelta:
    """The delay before the next attempt by the task's own retry policy, for failures that the
    task's process could not decide about itself."""
    retry = None
    if run.version_id:
        tasks = Task.objects.filter(version_id=run.version_id, slug=run.task)
        retry = tasks.values_list("retry", flat=True).first()
    return policy.retry_delay(retry or {}, attempt=max(run.attempt_count, 1), chance=_chance)


def _close_attempt(run: Run, failure: AttemptFailure, *, now: datetime) -> None:
    held = Lease.objects.filter(run_id=run.pk, attempt_id__isnull=False)
    Attempt.objects.filter(pk__in=held.values("attempt_id")).update(
        status=failure.status,
        error=failure.error,
        executed_ms=failure.executed_ms,
        finished_at=now,
    )


def retry_here(run: Run, failure: AttemptFailure, *, delay: timedelta, now: datetime) -> None:
    """Leave the run with its worker, which starts the next attempt after `delay`."""
    _close_attempt(run, failure, now=now)
    Lease.objects.filter(run_id=run.pk).update(
        attempt_id=None,
        is_started=False,
        expires_at=now + delay + timedelta(seconds=limits().delivery_seconds),
    )
    _touch(run, failure, now=now)
    _record(run, "retrying", failure, delay=delay, now=now)


def retry_later(run: Run, failure: AttemptFailure, *, delay: timedelta, now: datetime) -> None:
    """Take the run from its worker and put it back: queued at once, or when `delay` has passed."""
    _close_attempt(run, failure, now=now)
    release_leases([run.pk], keep=False)
    if delay > timedelta(0):
        run.status, run.delayed_until = RunStatus.DELAYED, now + delay
        Timer.objects.create(run_id=run.pk, kind=TimerKind.DUE, due_at=run.delayed_until)
    else:
        run.status, run.delayed_until, run.queued_at = RunStatus.QUEUED, None, now
    _touch(run, failure, now=now)
    _record(run, "retrying", failure, delay=delay, now=now)
    if run.status == RunStatus.QUEUED:
        make_ready([run], now=now)


def put_back(run: Run, reason: str, *, now: datetime) -> None:
    """Return a run that was claimed but not started to its place in the queue."""
    release_leases([run.pk], keep=False)
    run.status, run.status_reason, run.updated_at = RunStatus.QUEUED, reason, now
    run.save(update_fields=["status", "status_reason", "updated_at"])
    RunEvent.objects.create(
        run_id=run.pk, environment_id=run.environment_id, kind="returned", status=run.status,
        attempt=run.attempt_count, at=now, detail={"reason": reason},
    )  # fmt: skip
    make_ready([run], now=now)


def _touch(run: Run, failure: AttemptFailure, *, now: datetime) -> None:
    run.executed_ms += failure.executed_ms
    run.updated_at = now
    run.status_reason = str(failure.error.get("message") or failure.error.get("raw") or "")[:1000]
    run.save(
        update_fields=[
            "status", "status_reason", "executed_ms", "updated_at", "delayed_until", "queued_at",
        ]
    )  # fmt: skip


def _record(
    run: Run, kind: str, failure: AttemptFailure, *, delay: timedelta, now: datetime
) -> None:
    RunEvent.objects.create(
        run_id=run.pk, environment_id=run.environment_id, kind=kind, status=run.status,
        attempt=run.attempt_count, at=now,
        detail={
            "attempt": failure.status.value,
            "delay_seconds": delay.total_seconds(),
            "error": json.loads(json.dumps(failure.error)),
        },
    )  # fmt: skip
