"""Apply what workers report: a batch of messages, in one transaction, each under its generation.

The order is that of all locks: waitpoints, runs by id, then lanes and environments inside the
statements. The frequent reports (started, completed) are one statement for the whole batch; the
rare ones are handled run by run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from apps.core import sql
from apps.core.errors import DomainError
from apps.core.ids import new_id, parse_public_id
from apps.runs.errors import internal
from apps.runs.limits import limits
from apps.runs.models import Run
from apps.runs.operations.finish import Ending, finish_runs
from apps.runs.operations.locks import lock_waitpoints
from apps.runs.operations.metadata import apply_operations
from apps.runs.operations.retry import (
    AttemptFailure,
    policy_delay,
    put_back,
    retry_here,
    retry_later,
)
from apps.runs.operations.waiting import Suspension, suspend_run
from apps.runs.states import AttemptStatus, RunStatus
from holdfast.protocol import (
    Completed,
    Failed,
    Message,
    MetadataChanged,
    Rejected,
    Settled,
    Stale,
    Started,
    Suspended,
)

RunMessage = Started | Completed | Failed | Suspended | Rejected | MetadataChanged

_OUTCOMES: dict[str, tuple[AttemptStatus, RunStatus]] = {
    "failed": (AttemptStatus.FAILED, RunStatus.FAILED),
    "crashed": (AttemptStatus.CRASHED, RunStatus.CRASHED),
    "timed_out": (AttemptStatus.TIMED_OUT, RunStatus.TIMED_OUT),
    "canceled": (AttemptStatus.CANCELED, RunStatus.CANCELED),
    "system_failure": (AttemptStatus.SYSTEM_FAILURE, RunStatus.SYSTEM_FAILURE),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A message about a run, and the worker session that sent it."""

    session_id: UUID
    run_id: UUID
    message: RunMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What to tell a worker session."""

    session_id: UUID
    message: Message


@dataclass(slots=True)
class _Ledger:
    """What has become of the runs of this batch so far."""

    held: dict[UUID, dict[str, Any]]
    now: datetime
    answers: list[Answer] = field(default_factory=list)
    started: dict[UUID, Report] = field(default_factory=dict)
    endings: dict[UUID, Ending] = field(default_factory=dict)

    def answer(self, report: Report, message: Message) -> None:
        self.answers.append(Answer(session_id=report.session_id, message=message))

    def is_current(self, report: Report) -> bool:
        lease = self.held.get(report.run_id)
        if lease is None or lease["session_id"] != report.session_id:
            return False
        if isinstance(report.message, MetadataChanged):
            # sent just before the same process was resumed: still its own, and nobody else's
            return report.message.generation in {lease["generation"], lease["generation"] - 1}
        return bool(lease["generation"] == report.message.generation)

    def flush(self) -> None:
        """Write the batched reports; starts first, since an end may follow in the same batch."""
        _write_started(self.started, now=self.now)
        self.started.clear()
        finish_runs(list(self.endings.values()), now=self.now)
        self.endings.clear()


def settle(reports: Sequence[Report], *, now: datetime) -> list[Answer]:
    """Apply reports in their order; the caller is in a transaction and sends the answers after it.

    A report whose generation is not the run's is answered with Stale and changes nothing.
    """
    if not reports:
        return []
    run_ids = list({report.run_id for report in reports})
    _lock_waitpoints(run_ids, reports)
    held = {row["id"]: row for row in sql.rows(sql.load("runs", "lock_runs"), {"runs": run_ids})}
    ledger = _Ledger(held=held, now=now)
    for report in reports:
        if not ledger.is_current(report):
            _refuse(ledger, report)
            continue
        _HANDLERS[type(report.message)](ledger, report)
    ledger.flush()
    return ledger.answers


def _lock_waitpoints(run_ids: list[UUID], reports: Sequence[Report]) -> None:
    ending = [r.run_id for r in reports if isinstance(r.message, Completed | Failed)]
    named = [
        waitpoint_id
        for report in reports
        if isinstance(report.message, Suspended)
        for waitpoint_id in _waitpoint_ids(report.message)
    ]
    if ending or named:
        lock_waitpoints(runs=ending, named=named)


def _refuse(ledger: _Ledger, report: Report) -> None:
    stale = Stale(run=report.message.run, generation=report.message.generation)
    ledger.answer(report, stale)


def _started(ledger: _Ledger, report: Report) -> None:
    message, lease = report.message, ledger.held[report.run_id]
    is_repeated = lease["is_started"] or report.run_id in ledger.started
    if not is_repeated and isinstance(message, Started):
        ledger.started[report.run_id] = report


def _completed(ledger: _Ledger, report: Report) -> None:
    message = report.message
    if not isinstance(message, Completed):
        return
    _ensure_started(ledger, report, message.attempt)
    size = len(message.output.encode()) if message.output else 0
    most = limits().output_bytes
    if size > most:
        problem = internal("OUTPUT_TOO_LARGE", f"the output has {size} bytes, {most} are allowed")
        problem["code"] = "TASK_OUTPUT_ERROR"
        ending = Ending(run_id=report.run_id, status=RunStatus.FAILED, error=problem)
    else:
        ending = Ending(
            run_id=report.run_id,
            status=RunStatus.COMPLETED,
            output=message.output,
            output_type=message.output_type,
            executed_ms=message.executed_ms,
        )
    _end(ledger, report, ending)


def _failed(ledger: _Ledger, report: Report) -> None:
    message = report.message
    if not isinstance(message, Failed):
        return
    _ensure_started(ledger, report, message.attempt)
    lease = ledger.held[report.run_id]
    attempt_status, run_status = _OUTCOMES[message.outcome]
    if lease["cancel_requested_at"]:
        attempt_status, run_status = AttemptStatus.CANCELED, RunStatus.CANCELED
    may_retry = (
        message.retry_delay_ms is not None
        and message.attempt < lease["max_attempts"]
        and run_status not in {RunStatus.CANCELED, RunStatus.TIMED_OUT}
    )
    if not may_retry:
        ending = Ending(
            run_id=report.run_id,
            status=run_status,
            error=message.error,
            executed_ms=message.executed_ms,
        )
        _end(ledger, report, ending)
        return
    failure = AttemptFailure(
        status=attempt_status, error=message.error, executed_ms=message.executed_ms
    )
    _retry(ledger, report, failure, timedelta(milliseconds=message.retry_delay_ms or 0))


def _retry(ledger: _Ledger, report: Report, failure: AttemptFailure, delay: timedelta) -> None:
    ledger.flush()
    run, lease = Run.objects.get(pk=report.run_id), ledger.held[report.run_id]
    is_short = delay.total_seconds() <= limits().short_retry_seconds
    # a process that crashed is gone: only a failed one can go on
    if is_short and failure.status == AttemptStatus.FAILED:
        retry_here(run, failure, delay=delay, now=ledger.now)
        lease["is_started"] = False
        outcome = _settled(
            report, "retry_here", attempt=run.attempt_count + 1,
            delay_ms=int(delay.total_seconds() * 1000),
        )  # fmt: skip
    else:
        retry_later(run, failure, delay=delay, now=ledger.now)
        del ledger.held[report.run_id]
        outcome = _settled(report, "requeued")
    ledger.answer(report, outcome)


def _suspended(ledger: _Ledger, report: Report) -> None:
    message = report.message
    if not isinstance(message, Suspended):
        return
    _ensure_started(ledger, report, ledger.held[report.run_id]["attempt_count"] + 1)
    ledger.flush()
    suspension = Suspension(
        run_id=report.run_id,
        waitpoint_ids=tuple(_waitpoint_ids(message)),
        needs_all=message.need == "all",
    )
    suspend_run(Run.objects.get(pk=report.run_id), suspension, now=ledger.now)
    ledger.held[report.run_id]["holds_slot"] = False
    ledger.answer(report, _settled(report, "waiting"))


def _rejected(ledger: _Ledger, report: Report) -> None:
    message = report.message
    if not isinstance(message, Rejected):
        return
    ledger.flush()
    run = Run.objects.get(pk=report.run_id)
    del ledger.held[report.run_id]
    if give_up := delivery_failure(run, message.reason):
        finish_runs([give_up], now=ledger.now)
    elif run.status == RunStatus.DEQUEUED:
        put_back(run, message.reason, now=ledger.now)
    else:
        retry_later(
            run,
            AttemptFailure(
                status=AttemptStatus.SYSTEM_FAILURE,
                error=internal("TASK_EXECUTION_ABORTED", message.reason),
            ),
            delay=policy_delay(run), now=ledger.now,
        )  # fmt: skip
    ledger.answer(report, _settled(report, "requeued"))


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


def _metadata_changed(ledger: _Ledger, report: Report) -> None:
    message = report.message
    if isinstance(message, MetadataChanged):
        run = Run.objects.get(pk=report.run_id)
        apply_operations(run, message.operations, now=ledger.now)


def _ensure_started(ledger: _Ledger, report: Report, attempt: int) -> None:
    """An end implies a start, whose own message may have been lost with its connection."""
    lease = ledger.held[report.run_id]
    if not lease["is_started"] and report.run_id not in ledger.started:
        begun = Started(run=report.message.run, generation=lease["generation"], attempt=attempt)
        ledger.started[report.run_id] = Report(
            session_id=report.session_id, run_id=report.run_id, message=begun
        )


def _end(ledger: _Ledger, report: Report, ending: Ending) -> None:
    ledger.endings[report.run_id] = ending
    del ledger.held[report.run_id]
    ledger.answer(report, _settled(report, "final"))


def _settled(
    report: Report, outcome: Any, *, attempt: int | None = None, delay_ms: int = 0
) -> Settled:
    return Settled(
        run=report.message.run,
        generation=report.message.generation,
        outcome=outcome,
        attempt=attempt,
        delay_ms=delay_ms,
    )


def _waitpoint_ids(message: Suspended) -> Iterable[UUID]:
    for identifier in message.waitpoints:
        try:
            yield parse_public_id("waitpoint", identifier)
        except DomainError:
            continue


_HANDLERS: dict[type, Callable[[_Ledger, Report], None]] = {
    Started: _started,
    Completed: _completed,
    Failed: _failed,
    Suspended: _suspended,
    Rejected: _rejected,
    MetadataChanged: _metadata_changed,
}


def _write_started(started: dict[UUID, Report], *, now: datetime) -> None:
    if not started:
        return
    attempts = [r.message.attempt for r in started.values() if isinstance(r.message, Started)]
    sql.execute(
        sql.load("runs", "start_runs"),
        {
            "runs": list(started),
            "attempts": attempts,
            "attempt_ids": [new_id() for _ in started],
            "event_ids": [new_id() for _ in started],
            "now": now,
            "lease": timedelta(seconds=limits().lease_seconds),
        },
    )
