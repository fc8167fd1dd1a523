"""What becomes of an attempt that did not succeed: another one, or the run's end."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import F

from apps.deployments.models import Task
from apps.runs import policy
from apps.runs.errors import internal
from apps.runs.limits import limits
from apps.runs.models import Attempt, Lease, ReadyRun, Run, RunEvent, Timer, Wait
from apps.runs.operations.finish import Ending, finish_runs
from apps.runs.operations.locks import release_leases
from apps.runs.operations.queueing import make_ready
from apps.runs.states import AttemptStatus, RunStatus, TimerKind

_REASON_LENGTH = 1_000
_SUSPENDED = {RunStatus.WAITING, RunStatus.QUEUED}

_chance = random.SystemRandom()


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFailure:
    """How an attempt failed."""

    status: AttemptStatus
    error: dict[str, Any]
    executed_ms: int = 0
    rewind: tuple[int, ...] = ()


def policy_delay(run: Run) -> timedelta:
    """The delay before the next attempt by the task's own retry policy, for failures that the
    task's process could not decide about itself."""
    retry = None
    if run.version_id:
        tasks = Task.objects.filter(version_id=run.version_id, slug=run.task)
        retry = tasks.values_list("retry", flat=True).first()
    return policy.retry_delay(retry or {}, attempt=max(run.attempt_count, 1), chance=_chance)


def retry_or_end(run: Run, failure: AttemptFailure, *, now: datetime) -> None:
    """Try a run again by its task's policy, or end it when it has no attempt left."""
    if run.attempt_count < run.max_attempts:
        retry_later(run, failure, delay=policy_delay(run), now=now)
        return
    ending = Ending(
        run_id=run.pk,
        status=RunStatus(failure.status),
        reason=_reason(failure),
        error=failure.error,
        executed_ms=failure.executed_ms,
    )
    finish_runs([ending], now=now)


def retry_here(run: Run, failure: AttemptFailure, *, delay: timedelta, now: datetime) -> None:
    """Leave the run with its worker, which starts the next attempt after `delay`."""
    _close_attempt(run, failure, now=now)
    Lease.objects.filter(run_id=run.pk).update(
        attempt_id=None,
        is_started=False,
        expires_at=now + delay + timedelta(seconds=limits().delivery_seconds),
    )
    _touch(run, failure, now=now)
    _record(run, failure, delay=delay, now=now)


def retry_later(run: Run, failure: AttemptFailure, *, delay: timedelta, now: datetime) -> None:
    """Take the run from its worker and put it back: queued at once, or when `delay` has passed."""
    _close_attempt(run, failure, now=now)
    if run.status in _SUSPENDED:  # what it waited for, or was woken by, is nothing to a new attempt
        ReadyRun.objects.filter(pk=run.pk).delete()
        Wait.objects.filter(run_id=run.pk).delete()
    release_leases([run.pk])
    _rest(run, delay, now=now)
    if run.status == RunStatus.QUEUED:
        run.queued_at = now
    _touch(run, failure, now=now)
    _record(run, failure, delay=delay, now=now)
    if run.status == RunStatus.QUEUED:
        make_ready([run], now=now)


def put_back(runs: Sequence[Run], reasons: Mapping[UUID, str], *, now: datetime) -> None:
    """Return runs that were claimed but not started to their places in the queue.

    One that comes back again and again rests before it is handed out another time.
    """
    release_leases([run.pk for run in runs])
    if asleep := [run.pk for run in runs if run.status in _SUSPENDED]:
        ReadyRun.objects.filter(pk__in=asleep).delete()
        Wait.objects.filter(run_id__in=asleep).delete()
    for run in runs:
        _rest(run, policy.delivery_pause(run.delivery_count), now=now)
        run.status_reason, run.updated_at = reasons[run.pk][:_REASON_LENGTH], now
    fields = ["status", "status_reason", "updated_at", "delayed_until", "delivery_count"]
    Run.objects.bulk_update(runs, fields)
    RunEvent.objects.bulk_create(
        RunEvent(
            run_id=run.pk, environment_id=run.environment_id, kind="returned", status=run.status,
            attempt=run.attempt_count, at=now, detail={"reason": run.status_reason},
        )
        for run in runs
    )  # fmt: skip
    make_ready([run for run in runs if run.status == RunStatus.QUEUED], now=now)


def delivery_failure(run: Run, reason: str) -> Ending | None:
    """The end of a run that has been handed out too often without ever starting."""
    most = limits().deliveries_per_attempt
    if run.delivery_count < most:
        return None
    text = f"no worker started this run in {most} deliveries; the latest said: {reason}"
    return Ending(
        run_id=run.pk,
        status=RunStatus.SYSTEM_FAILURE,
        reason=text,
        error=internal("TASK_RUN_DEQUEUED_MAX_RETRIES", text),
    )


def _close_attempt(run: Run, failure: AttemptFailure, *, now: datetime) -> None:
    held = Lease.objects.filter(run_id=run.pk, attempt_id__isnull=False)
    Attempt.objects.filter(pk__in=held.values("attempt_id")).update(
        status=failure.status,
        error=failure.error,
        executed_ms=F("executed_ms") + failure.executed_ms,
        finished_at=now,
    )


def _rest(run: Run, delay: timedelta, *, now: datetime) -> None:
    """Set a run to be queued now, or by a timer."""
    if delay > timedelta(0):
        run.status, run.delayed_until = RunStatus.DELAYED, now + delay
        Timer.objects.create(run_id=run.pk, kind=TimerKind.DUE, due_at=run.delayed_until)
    else:
        run.status, run.delayed_until = RunStatus.QUEUED, None


def _touch(run: Run, failure: AttemptFailure, *, now: datetime) -> None:
    run.executed_ms += failure.executed_ms
    run.updated_at, run.status_reason = now, _reason(failure)
    run.save(
        update_fields=[
            "status", "status_reason", "executed_ms", "updated_at", "delayed_until", "queued_at",
        ]
    )  # fmt: skip


def _reason(failure: AttemptFailure) -> str:
    return str(failure.error.get("message") or failure.error.get("raw") or "")[:_REASON_LENGTH]


def _record(run: Run, failure: AttemptFailure, *, delay: timedelta, now: datetime) -> None:
    RunEvent.objects.create(
        run_id=run.pk, environment_id=run.environment_id, kind="retrying", status=run.status,
        attempt=run.attempt_count, at=now,
        detail={
            "attempt": failure.status.value,
            "delay_seconds": delay.total_seconds(),
            "error": failure.error,
        },
    )  # fmt: skip
