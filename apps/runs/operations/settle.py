"""Apply what workers report: a batch of messages, in one transaction, each under its generation.

The order is that of all locks: inputs, places and waitpoints, runs by id, then slots. The frequent
reports (started, recorded, suspended, completed, given back) are one statement for the whole batch;
the rare ones are handled run by run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from apps.core import sql
from apps.core.errors import DomainError
from apps.core.ids import new_id
from apps.runs import policy
from apps.runs.errors import internal
from apps.runs.limits import limits
from apps.runs.models import Lease, Run
from apps.runs.operations.finish import Ending, finish_runs, tell_starts
from apps.runs.operations.inputs import expect_inputs
from apps.runs.operations.journal import record_entries, rewind
from apps.runs.operations.locks import lock_places, lock_runs, lock_slots
from apps.runs.operations.metadata import apply_operations
from apps.runs.operations.reports import Answer, Report, settled, stale, try_again
from apps.runs.operations.retry import (
    AttemptFailure,
    delivery_failure,
    put_back,
    retry_here,
    retry_later,
    retry_or_end,
)
from apps.runs.operations.waiting import (
    Suspension,
    TimeWait,
    make_times,
    suspend_runs,
    waiting_for_ends,
)
from apps.runs.states import AttemptStatus, RunStatus
from holdfast.protocol import (
    Completed,
    Entry,
    Failed,
    Malformed,
    Message,
    MetadataChanged,
    Recorded,
    Rejected,
    Started,
    Steps,
    Suspended,
)

_OUTCOMES: dict[str, tuple[AttemptStatus, RunStatus]] = {
    "failed": (AttemptStatus.FAILED, RunStatus.FAILED),
    "crashed": (AttemptStatus.CRASHED, RunStatus.CRASHED),
    "timed_out": (AttemptStatus.TIMED_OUT, RunStatus.TIMED_OUT),
    "canceled": (AttemptStatus.CANCELED, RunStatus.CANCELED),
    "system_failure": (AttemptStatus.SYSTEM_FAILURE, RunStatus.SYSTEM_FAILURE),
}
_NOT_RETRIED = {RunStatus.CANCELED, RunStatus.TIMED_OUT}


def settle(reports: Sequence[Report], *, now: datetime) -> list[Answer]:
    """Apply reports in their order; the caller is in a transaction and sends the answers after it.

    A report whose generation is not the run's is answered with Stale and changes nothing.
    """
    if not reports:
        return []
    expect_inputs(reports, now=now)
    _make_times(reports, now=now)
    ending = {report.run_id for report in reports if report.may_end}
    waitpoints = _lock_places(reports, ending)
    run_ids = list(dict.fromkeys(report.run_id for report in reports))
    # with those that an end may wake, so that all are locked in one order
    rows = lock_runs([*run_ids, *(waiting_for_ends(ending) if waitpoints else [])])
    batch = _Batch({row["id"]: _hold(row) for row in rows}, waitpoints, now)
    if any(isinstance(r.message, Failed | Suspended | Rejected) for r in reports):
        lock_slots(run_ids)
    for report in reports:
        batch.apply(report)
    batch.flush()
    return batch.answers


def _make_times(reports: Sequence[Report], *, now: datetime) -> None:
    """Make what only its own run waits for, before anything is locked; of no use to a stale one."""
    asked = [report for report in reports if report.times]
    if not asked:
        return
    leases = Lease.objects.filter(pk__in=[report.run_id for report in asked])
    places = {
        (run_id, session_id): environment_id
        for run_id, session_id, environment_id in leases.values_list(
            "run_id", "session_id", "environment_id"
        )
    }
    make_times(
        [
            TimeWait(id=identifier, environment_id=environment_id, due_at=due_at)
            for report in asked
            if (environment_id := places.get((report.run_id, report.session_id)))
            for identifier, due_at in report.times.items()
        ],
        now=now,
    )


def _lock_places(reports: Sequence[Report], ending: set[UUID]) -> dict[UUID, UUID]:
    named = {waitpoint_id for report in reports for waitpoint_id in report.waitpoint_ids}
    return lock_places(runs=ending, named=named) if ending else {}


@dataclass(slots=True)
class _Hold:
    """A run that a worker holds, as this batch has left it so far."""

    environment_id: UUID
    session_id: UUID
    generation: int
    is_started: bool
    holds_slot: bool
    attempt_count: int
    max_attempts: int
    is_being_canceled: bool
    expires_at: datetime

    @property
    def attempt(self) -> int:
        """The attempt that the worker is at, or is about to start."""
        return self.attempt_count if self.is_started else self.attempt_count + 1

    def may_report(self, report: Report) -> bool:
        if self.session_id != report.session_id:
            return False
        if isinstance(report.message, MetadataChanged | Steps) and self.is_started:
            # sent just before the same process was resumed: still its own, and nobody else's
            return report.message.generation in {self.generation, self.generation - 1}
        return report.message.generation == self.generation


def _hold(row: dict[str, Any]) -> _Hold:
    return _Hold(**{name: row[name] for name in _Hold.__slots__})


class _Batch:
    """The reports of one call: what has become of their runs, and what is still to be written."""

    def __init__(
        self, holds: dict[UUID, _Hold], waitpoints: dict[UUID, UUID], now: datetime
    ) -> None:
        self.answers: list[Answer] = []
        self._holds = holds
        self._waitpoints = waitpoints
        self._now = now
        self._started: dict[UUID, int] = {}
        self._endings: list[Ending] = []
        self._returned: dict[UUID, str] = {}
        self._blameless: set[UUID] = set()  # of those, what was only taken ahead
        self._retried: set[UUID] = set()
        self._entries: dict[UUID, list[Entry]] = {}
        self._suspended: dict[UUID, tuple[Report, Suspension]] = {}

    def apply(self, report: Report) -> None:
        if report.run_id in self._suspended:  # whether its worker still has it is to be seen
            self.flush()
        hold = self._holds.get(report.run_id)
        if hold is None or not hold.may_report(report):
            self._answer(report, stale(report))
            return
        message = report.message
        if isinstance(message, Started | Completed | Failed) and message.attempt < hold.attempt:
            self._repeat(report, hold)
        else:
            self._settle(report, hold)

    def _settle(self, report: Report, hold: _Hold) -> None:
        match report.message:
            case Started():
                self._start(report.run_id, hold)
            case Completed() as completed:
                self._complete(report, hold, completed)
            case Failed() as failed:
                self._fail(report, hold, failed)
            case Suspended() as suspended:
                self._suspend(report, hold, suspended)
            case Steps() as steps:
                self._record(report, hold, steps)
            case Rejected() as rejected:
                self._reject(report, hold, rejected)
            case MetadataChanged() as changed:
                self._change_metadata(report, changed)

    def flush(self) -> None:
        """Write the batched reports; what has started and ended in this batch is written once.

        Suspensions come last: one that waits for an end of the same batch stays with its worker.
        """
        self._put_back()
        endings = [
            replace(ending, attempt=self._started.pop(ending.run_id, None))
            for ending in self._endings
        ]
        _write_started(self._started, now=self._now)
        self._started = {}
        record_entries(self._entries)
        self._entries = {}
        finish_runs(endings, now=self._now)
        self._endings = []
        self._put_to_sleep()

    # -- Starts and ends -----------------------------------------------------------------------

    def _start(self, run_id: UUID, hold: _Hold) -> None:
        """An end implies a start, whose own message may have been lost with its connection."""
        if not hold.is_started:
            self._started[run_id] = hold.attempt_count = hold.attempt
            hold.is_started = True

    def _complete(self, report: Report, hold: _Hold, message: Completed) -> None:
        self._start(report.run_id, hold)
        output = policy.storable(message.output)
        size = len(output.encode()) if output else 0
        most = limits().output_bytes
        if size > most:
            text = f"the output has {size} bytes, {most} are allowed"
            problem = internal("TASK_OUTPUT_ERROR", text)
            self._end(report, Ending(run_id=report.run_id, status=RunStatus.FAILED, error=problem))
            return
        ending = Ending(
            run_id=report.run_id,
            status=RunStatus.COMPLETED,
            output=output,
            output_type=policy.storable(message.output_type),
            executed_ms=policy.executed(message.executed_ms),
        )
        self._end(report, ending)

    def _fail(self, report: Report, hold: _Hold, message: Failed) -> None:
        attempt_status, run_status = _OUTCOMES[message.outcome]
        if hold.is_being_canceled:
            attempt_status, run_status = AttemptStatus.CANCELED, RunStatus.CANCELED
        if run_status != RunStatus.CANCELED:  # one that was to start and was canceled has not
            self._start(report.run_id, hold)
        error = policy.kept_error(message.error, limits())
        executed_ms = policy.executed(message.executed_ms)
        delay = message.retry_delay_ms
        if delay is None or hold.attempt >= hold.max_attempts or run_status in _NOT_RETRIED:
            ending = Ending(
                run_id=report.run_id, status=run_status, error=error, executed_ms=executed_ms
            )
            self._end(report, ending)
            return
        failure = AttemptFailure(
            status=attempt_status,
            error=error,
            executed_ms=executed_ms,
            rewind=tuple(message.rewind),
        )
        self._retry(report, hold, failure, policy.retry_pause(delay))

    def _retry(
        self, report: Report, hold: _Hold, failure: AttemptFailure, delay: timedelta
    ) -> None:
        self.flush()
        rewind(report.run_id, failure.rewind)
        run = _run(report)
        # a process that crashed is gone: only a failed one can go on, and only in its own slot
        can_go_on = failure.status == AttemptStatus.FAILED and hold.holds_slot
        if can_go_on and delay.total_seconds() <= limits().short_retry_seconds:
            retry_here(run, failure, delay=delay, now=self._now)
            hold.is_started = False
            self._retried.add(report.run_id)
            self._answer(report, try_again(report, attempt=hold.attempt, delay=delay))
        else:
            retry_later(run, failure, delay=delay, now=self._now)
            self._let_go(report, "requeued")

    def _repeat(self, report: Report, hold: _Hold) -> None:
        """Answer again about an attempt that has been settled: a connection lost the answer."""
        is_start = isinstance(report.message, Started)
        if is_start or hold.is_started or report.run_id in self._retried:
            return
        starts_at = hold.expires_at - timedelta(seconds=limits().delivery_seconds)
        delay = max(timedelta(0), starts_at - self._now)
        self._answer(report, try_again(report, attempt=hold.attempt, delay=delay))

    def _end(self, report: Report, ending: Ending) -> None:
        self._endings.append(ending)
        self._let_go(report, "final")

    # -- Waiting, and giving back --------------------------------------------------------------

    def _suspend(self, report: Report, hold: _Hold, message: Suspended) -> None:
        if hold.is_being_canceled:
            self._end(report, Ending(run_id=report.run_id, status=RunStatus.CANCELED))
            return
        waitpoints = [
            waitpoint_id
            for waitpoint_id in report.waitpoint_ids
            if self._waitpoints.get(waitpoint_id) == hold.environment_id
        ]
        if not waitpoints or len(waitpoints) < len(set(message.waitpoints)):
            text = f"it waits for what does not exist: {', '.join(message.waitpoints) or 'nothing'}"
            error = policy.kept_error(internal("TASK_EXECUTION_FAILED", text), limits())
            self._end(
                report,
                Ending(run_id=report.run_id, status=RunStatus.SYSTEM_FAILURE, error=error),
            )
            return
        self._start(report.run_id, hold)
        hold.holds_slot = False
        suspension = Suspension(
            run_id=report.run_id,
            waitpoint_ids=waitpoints,
            needs_all=message.need == "all",
            releases=message.release,
            has_left=message.left,
            executed_ms=policy.executed(message.executed_ms),
        )
        self._suspended[report.run_id] = report, suspension

    def _put_to_sleep(self) -> None:
        told, self._suspended = self._suspended, {}
        let_go = suspend_runs([each for _, each in told.values()], now=self._now)
        for run_id, (report, _) in told.items():
            if run_id in let_go:
                self._let_go(report, "released")
            else:
                self._answer(report, settled(report, "waiting"))

    def _record(self, report: Report, hold: _Hold, message: Steps) -> None:
        """Keep more of a journal; the answer is true when the caller has committed."""
        problem = policy.journal_problem(message.entries, limits())
        if problem is not None:
            error = internal("TASK_EXECUTION_FAILED", problem)
            self._end(report, Ending(run_id=report.run_id, status=RunStatus.FAILED, error=error))
            return
        self._start(report.run_id, hold)
        kept = [policy.kept_entry(entry, limits()) for entry in message.entries]
        self._entries.setdefault(report.run_id, []).extend(kept)
        through = max((entry.seq for entry in kept), default=0)
        self._answer(
            report, Recorded(run=message.run, generation=message.generation, through=through)
        )

    def _reject(self, report: Report, hold: _Hold, message: Rejected) -> None:
        reason = policy.storable(message.reason)
        if hold.is_being_canceled:
            self._end(report, Ending(run_id=report.run_id, status=RunStatus.CANCELED))
        elif hold.is_started:
            self.flush()
            error = policy.kept_error(internal("TASK_EXECUTION_ABORTED", reason), limits())
            failure = AttemptFailure(status=AttemptStatus.SYSTEM_FAILURE, error=error)
            retry_or_end(_run(report), failure, now=self._now)
            self._let_go(report, "requeued")
        else:
            self._returned[report.run_id] = reason
            if not message.is_fault:
                self._blameless.add(report.run_id)
            self._let_go(report, "requeued")

    def _put_back(self) -> None:
        if not self._returned:
            return
        runs = _runs(self._returned)
        for run in runs:
            if run.pk in self._blameless and run.delivery_count:  # none counts after a start
                run.delivery_count -= 1
        given_up = {run.pk: delivery_failure(run, self._returned[run.pk]) for run in runs}
        self._endings += [ending for ending in given_up.values() if ending]
        kept = [run for run in runs if not given_up[run.pk]]
        put_back(kept, self._returned, now=self._now)
        self._returned = {}
        self._blameless = set()

    # -- Metadata, and answers -----------------------------------------------------------------

    def _change_metadata(self, report: Report, message: MetadataChanged) -> None:
        try:
            apply_operations(report.run_id, message.operations, now=self._now)
        except DomainError as error:
            text = f"metadata of {message.run}: {error.message}"
            self._answer(report, Malformed(detail=text))

    def _let_go(self, report: Report, outcome: Literal["final", "requeued", "released"]) -> None:
        del self._holds[report.run_id]
        self._answer(report, settled(report, outcome))

    def _answer(self, report: Report, message: Message) -> None:
        self.answers.append(Answer(session_id=report.session_id, message=message))


def _run(report: Report) -> Run:
    return _runs([report.run_id])[0]


def _runs(run_ids: Iterable[UUID]) -> list[Run]:
    wanted = list(run_ids)
    return list(Run.objects.defer("payload", "output").filter(pk__in=wanted)) if wanted else []


def _write_started(attempts: dict[UUID, int], *, now: datetime) -> None:
    if not attempts:
        return
    first = sql.rows(
        sql.load("runs", "start_runs"),
        {
            "runs": list(attempts),
            "attempts": list(attempts.values()),
            "attempt_ids": [new_id() for _ in attempts],
            "event_ids": [new_id() for _ in attempts],
            "now": now,
            "lease": timedelta(seconds=limits().lease_seconds),
        },
    )
    tell_starts((row["queued_at"] for row in first), now=now)
