"""Executes runs in task processes: from the start of an attempt to the report on its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from holdfast.machines import get_machine
from holdfast.protocol import (
    Cancel,
    Completed,
    Entry,
    Expected,
    Failed,
    MetadataChanged,
    Steps,
    Suspended,
    Timed,
)
from holdfast.worker import endings, linux
from holdfast.worker.backlog import Backlog
from holdfast.worker.connection import Connection
from holdfast.worker.endings import Verdict
from holdfast.worker.eviction import Evictions
from holdfast.worker.frames import Frame, pack_body
from holdfast.worker.held import HeldRuns
from holdfast.worker.people import People
from holdfast.worker.pool import Pool, TaskProcess
from holdfast.worker.rollcall import RollCall
from holdfast.worker.run import Run
from holdfast.worker.tracing import RunTelemetry, trace_of

_REPLAY_SECONDS = 60.0
"""How long a run may take until it has come to where its journal ends."""

_EVICTION_SECONDS = 10.0
"""How long a run may take to leave its process."""

_LATE_SECONDS = 1.0
"""How long a run may go on after it was told that its time is up."""


class Executions:
    """The runs that have a task process, and what becomes of them.

    Args:
        capacity: How many runs execute at once.
        held: All runs of the worker.
        backlog: Told when a place is free.
        connection: Where starts and metadata go.
        telemetry: Where spans and logs go.
        people: Told what happens.

    Attributes:
        pool: The task processes; None until the server has sent their variables.
        on_prepared: Told of each run whose process has closed its connections.
    """

    def __init__(
        self,
        *,
        capacity: int,
        held: HeldRuns,
        backlog: Backlog,
        connection: Connection,
        telemetry: RunTelemetry,
        people: People,
    ) -> None:
        self._evictions = Evictions(held, most=capacity)
        self.pool: Pool | None = None
        self.on_prepared: Callable[[str], None] = lambda _run_id: None
        self._capacity = capacity
        self._held = held
        self._backlog = backlog
        self._tray = backlog.tray
        self._roll_call = RollCall(backlog)
        self._connection = connection
        self._telemetry = telemetry
        self._people = people
        self._memory_kills = (linux.out_of_memory_kills(),) * 2  # one look ago, and now

    def start(self, run: Run) -> None:
        """Start an attempt; nothing happens before there are processes."""
        if self.pool is None:
            return
        process = self.pool.take(fresh=self._is_alone(run))
        process.hold_to(get_machine(run.order.machine))
        process.send_body(self._ordered(run))
        self._begun(run, process)

    def lay(self, run: Run) -> bool:
        """Lay a run on the tray for the next process that is free; False when it cannot lie."""
        if self._is_alone(run):
            return False
        slip = self._tray.next_slip()
        return self._tray.put(run, slip, self._ordered(run, slip=slip))

    def _ordered(self, run: Run, slip: int = 0) -> bytes:
        """The order to execute a run."""
        run.trace = trace_of(run.order.traceparent)
        sets_limits = self.pool is not None and self.pool.sets_limits
        order = run.to_execute(
            run.trace.traceparent,
            slip=slip,
            is_alone=self._is_alone(run),
            machine=run.order.machine if sets_limits else None,
        )
        return pack_body(order)

    def _begun(self, run: Run, process: TaskProcess) -> None:
        """A process has a run, and begins."""
        process.busy_with, process.runs = run.id, process.runs + 1
        run.process, run.started_at, run.is_started = process, time.monotonic(), True
        run.started_ns = time.time_ns()
        self._held.begun(run)
        self._connection.send(run.started, is_urgent=False)
        self.arm_deadline(run)
        self._people.tell("started", run)
        if run.cancel is not None:  # it was canceled when nobody knew who had it
            self.cancel(run, run.cancel)

    def _took(self, process: TaskProcess, slip: int) -> None:
        """A process has taken a run by itself; one that is not to be executed any more it loses."""
        run = self._tray.taken(slip)
        if run is None or run not in self._held or run.result is not None:
            process.busy_with = "" if run is None else run.id
            process.kill()
            return
        process.hold_to(get_machine(run.order.machine))
        self._begun(run, process)

    def arm_deadline(self, run: Run) -> None:
        """Kill it some time after its own timer should have ended it."""
        limit = run.order.max_duration_seconds
        if limit is None or run.result is not None:
            return
        left = max(0.0, limit - run.executed_before) + _LATE_SECONDS
        if run.order.journal_length:
            left += _REPLAY_SECONDS
        loop = asyncio.get_running_loop()
        run.deadline = loop.call_later(left, self.kill, run, endings.over_time(limit))

    def heard(self, process: TaskProcess, message: Frame) -> None:
        """A task process has said something."""
        operation = message["op"]
        if operation == "present":
            self._roll_call.heard(process, message["number"])
            return
        run = self._held.get(message["run"])
        is_current = run is not None and run.process is process
        if operation == "done":
            self._ended(process, run if is_current else None, message)
        elif run is not None and is_current:
            self._heard_of(run, message)

    def _ended(self, process: TaskProcess, run: Run | None, message: Frame) -> None:
        """A process has ended a run, perhaps one that it was told to leave, or has lost."""
        self._left(process)
        if run is not None and run.cpus is not None:
            run.cpus.release()
        if message["returned"]:
            returned = self._tray.taken(message["returned"])
            self._backlog.put_back([] if returned is None else [returned])
        if not message["took"]:
            self._free(process, used_up=message["exit"] or message["is_alone"])
        if run is not None:
            self._done(run, message)
        if message["took"]:
            self._took(process, message["took"])
        self._backlog.ended((message["end"] - message["start"]) / 1e9)

    def _heard_of(self, run: Run, message: Frame) -> None:
        """A run that executes has said something through its process."""
        operation = message["op"]
        if operation == "prepared":
            self.on_prepared(run.id)
        elif operation == "wait":
            self._suspend(run, message)
        elif operation == "steps":
            self._record(run, message)
        elif operation == "telemetry" and run.trace is not None:
            self._telemetry.reported(run.order, run.attempt, run.trace, message["records"])
        elif operation == "metadata":
            self._connection.send(
                MetadataChanged(
                    run=run.id, generation=run.generation, operations=message["operations"]
                )
            )

    def let_go(self, run: Run) -> None:
        """Only the rows of a waiting run are left: free its process, and forget it."""
        if run.process is not None:
            self._leave(run, run.process)
        self._held.forget(run, kill=False)
        self._people.tell("evicted", run)

    def _leave(self, run: Run, process: TaskProcess) -> None:
        """Have the process of a run that waits leave it, for another run."""
        run.process = None
        self._record_span(run)
        if self._is_alone(run):
            process.kill()
            return
        if run.cpus is not None:
            run.cpus.release()
        process.is_leaving = True
        self._held.leaving += 1
        process.send({"op": "evict", "run": run.id})
        loop = asyncio.get_running_loop()
        loop.call_later(_EVICTION_SECONDS, self._insist, process, process.runs)

    def _left(self, process: TaskProcess) -> None:
        """Its place is free again, if it was leaving a run."""
        if process.is_leaving:
            process.is_leaving = False
            self._held.leaving -= 1

    def _insist(self, process: TaskProcess, runs: int) -> None:
        """Kill a process that has not left the run which it was told to leave."""
        if process.busy_with is not None and process.runs == runs:
            process.kill()

    def process_ended(self, process: TaskProcess) -> None:
        """A task process is gone; so is the run that it may have executed."""
        self._left(process)
        run = self._held.get(process.busy_with or "")
        if run is not None and run.process is process:
            self._lost_with(process, run)
        self._roll_call.process_ended(process, [] if self.pool is None else self.pool.busy())
        self._backlog.dispatch()

    def _lost_with(self, process: TaskProcess, run: Run) -> None:
        """A run has ended because its process has."""
        run.process = None
        verdict = run.verdict
        if verdict is None and run.cancel is not None:
            verdict = endings.canceled(run.cancel.reason)
        if verdict is None:
            kills = linux.out_of_memory_kills() - self._memory_kills[0]
            verdict = endings.process_ended(process.status or 0, memory_kills=kills)
        self.conclude(run, verdict)

    def look_for_memory_kills(self) -> None:
        """Note how many the kernel has killed by now; later ones may be the end of a run."""
        self._memory_kills = (self._memory_kills[1], linux.out_of_memory_kills())

    def forget_memory_kills(self) -> None:
        """What the kernel has killed by now was no run of those that come."""
        self._memory_kills = (linux.out_of_memory_kills(),) * 2

    def cancel(self, run: Run, order: Cancel) -> None:
        """Have a run that executes stop by itself, and kill it when it does not."""
        if run.process is None:
            return
        run.process.send({"op": "cancel", "run": run.id, "reason": order.reason})
        loop = asyncio.get_running_loop()
        verdict = endings.canceled(order.reason, grace=order.grace_seconds)
        run.timer = loop.call_later(order.grace_seconds, self.kill, run, verdict)

    def kill(self, run: Run, verdict: Verdict) -> None:
        """Kill a run's process; the verdict is told when it is really gone."""
        if run.process is not None and run.verdict is None:
            run.verdict = verdict
            run.process.kill()

    def conclude(self, run: Run, verdict: Verdict) -> None:
        """Report a run that its own process will not report."""
        executed = time.monotonic() - run.started_at if run.is_started else 0.0
        run.disarm()
        if run.process is not None:
            run.process.kill()
            run.process = None
        run.result = Failed(
            run=run.id,
            generation=run.generation,
            attempt=run.attempt,
            outcome=verdict.outcome,
            error=verdict.error,
            retry_delay_ms=endings.retry_delay_ms(
                verdict,
                policy=self._task(run).get("retry", {}),
                attempt=run.attempt,
                max_attempts=run.order.max_attempts,
            ),
            executed_ms=round(executed * 1000),
        )
        self._people.tell_failed(run, run.result)
        self._record_span(run)
        self._held.report(run, run.result)

    def _task(self, run: Run) -> dict[str, Any]:
        """What is known of the run's task."""
        return self.pool.tasks.get(run.order.task, {}) if self.pool is not None else {}

    def _is_alone(self, run: Run) -> bool:
        """Whether it has its process for itself, before and after."""
        return self._task(run).get("isolation") == "run"

    def _free(self, process: TaskProcess, *, used_up: bool) -> None:
        if self.pool is not None:
            self.pool.give_back(process, used_up=used_up)
            self.pool.trim(self._capacity)

    def _suspend(self, run: Run, message: Frame) -> None:
        if message["resumes"] != run.resumes:
            return  # it crossed an order to go on; the process says anew what it waits for
        times = [Timed(**time) for time in message["times"]]
        is_durable = bool(self._task(run).get("durable"))
        leaves = is_durable and self._evictions.is_long(message["waitpoints"], times)
        run.suspended = Suspended(
            run=run.id,
            generation=run.generation,
            waitpoints=message["waitpoints"],
            times=times,
            inputs=[Expected(**item) for item in message.get("inputs", ())],
            executed_ms=message["executed_ms"],
            release=leaves,
            left=leaves,
        )
        run.executed_before = (run.order.attempt_executed_ms + message["executed_ms"]) / 1000
        if run.deadline is not None:
            run.deadline.cancel()
            run.deadline = None
        self._held.report(run, run.suspended)
        if leaves and run.process is not None:
            # its place is free before the server has heard of it: what it recorded is kept here
            self._leave(run, run.process)
        elif is_durable:
            self._evictions.hold(run)
        self._people.tell("waiting", run)
        self._backlog.dispatch()

    def _record(self, run: Run, message: Frame) -> None:
        """Pass on what a run has done; it is kept here until the server has it."""
        entries = [Entry(**entry) for entry in message["entries"]]
        run.unrecorded += entries
        run.has_journal = True
        self._connection.send(
            Steps(run=run.id, generation=run.generation, entries=entries),
            is_urgent=message["is_urgent"],
        )

    def _done(self, run: Run, message: Frame) -> None:
        run.disarm()
        run.process = None
        if run.verdict is not None:  # it ended in the very moment in which it was to be killed
            self.conclude(run, run.verdict)
            return
        common = {
            "run": run.id,
            "generation": run.generation,
            "attempt": run.attempt,
            "executed_ms": message["executed_ms"],
        }
        if message["ending"] == "completed":
            run.result = Completed(
                output=message["output"], output_type=message["output_type"], **common
            )
            self._people.tell("completed", run, seconds=message["executed_ms"] / 1000)
        else:
            run.result = Failed(
                outcome=message["ending"],
                error=message["error"],
                retry_delay_ms=message["retry_delay_ms"],
                rewind=message["rewind"],
                **common,
            )
            self._people.tell_failed(run, run.result)
        self._record_span(run)
        self._held.report(run, run.result)

    def _record_span(self, run: Run) -> None:
        """The span of the attempt that has just ended."""
        if run.trace is not None and run.is_started:
            self._telemetry.attempt_ended(
                run.order,
                run.attempt,
                run.trace,
                start=run.started_ns,
                end=time.time_ns(),
                error=run.result.error if isinstance(run.result, Failed) else None,
            )
            run.trace = None
