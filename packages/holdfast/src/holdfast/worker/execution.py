"""Executes runs in task processes: from the start of an attempt to the report on its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from holdfast.machines import get_machine
from holdfast.protocol import (
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
from holdfast.worker.frames import Frame
from holdfast.worker.held import HeldRuns
from holdfast.worker.people import People
from holdfast.worker.pool import Pool, TaskProcess
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
        self._connection = connection
        self._telemetry = telemetry
        self._people = people
        self._memory_kills = (linux.out_of_memory_kills(),) * 2  # one look ago, and now

    def start(self, run: Run) -> None:
        """Start an attempt; nothing happens before there are processes."""
        if self.pool is None:
            return
        order = run.order
        process = self.pool.take(fresh=self._task(run).get("isolation") == "run")
        process.busy_with, process.runs = run.id, process.runs + 1
        run.process, run.started_at, run.is_started = process, time.monotonic(), True
        self._held.begun(run)
        run.trace, run.started_ns = trace_of(order.traceparent), time.time_ns()
        self._connection.send(run.started, is_urgent=False)
        process.hold_to(get_machine(order.machine))
        process.send(run.to_execute(run.trace.traceparent))
        self.arm_deadline(run)
        self._people.tell("started", run)

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
        run = self._held.get(message["run"])
        is_current = run is not None and run.process is process
        operation = message["op"]
        if operation == "done":
            self._left(process)
            self._free(process, run if is_current else None, used_up=message["exit"])
            if run is not None and is_current:
                self._done(run, message)
            self._backlog.ended((message["end"] - message["start"]) / 1e9)
        elif run is not None and is_current:
            self._heard_of(run, message)

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
        if self._task(run).get("isolation") == "run":
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
        if run is None or run.process is not process:
            self._backlog.dispatch()
            return
        run.process = None
        verdict = run.verdict
        if verdict is None and run.cancel is not None:
            verdict = endings.canceled(run.cancel.reason)
        if verdict is None:
            kills = linux.out_of_memory_kills() - self._memory_kills[0]
            verdict = endings.process_ended(process.status or 0, memory_kills=kills)
        self.conclude(run, verdict)
        self._backlog.dispatch()

    def look_for_memory_kills(self) -> None:
        """Note how many the kernel has killed by now; later ones may be the end of a run."""
        self._memory_kills = (self._memory_kills[1], linux.out_of_memory_kills())

    def forget_memory_kills(self) -> None:
        """What the kernel has killed by now was no run of those that come."""
        self._memory_kills = (linux.out_of_memory_kills(),) * 2

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

    def _free(self, process: TaskProcess, run: Run | None, *, used_up: bool) -> None:
        if self.pool is None:
            return
        if run is not None and run.cpus is not None:
            run.cpus.release()
        is_its_own = run is not None and self._task(run).get("isolation") == "run"
        self.pool.give_back(process, used_up=used_up or is_its_own)
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
        if run.trace is not None:
            self._telemetry.attempt_ended(
                run.order,
                run.attempt,
                run.trace,
                start=run.started_ns,
                end=time.time_ns(),
                error=run.result.error if isinstance(run.result, Failed) else None,
            )
            run.trace = None
