"""The worker: holds runs, gives them to task processes, and answers for them to the coordinator.

The rule it keeps: a run that was accepted is answered for until the server has settled it, over
any number of connections; and what may have been given to somebody else is stopped.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from holdfast import protocol
from holdfast.machines import get_machine
from holdfast.manifest import sdk_version
from holdfast.protocol import (
    Beat,
    Cancel,
    Capacity,
    Completed,
    Drain,
    Execute,
    Failed,
    Held,
    Hello,
    Malformed,
    Message,
    MetadataChanged,
    Rejected,
    Resume,
    Settled,
    Stale,
    Started,
    Suspended,
    Welcome,
)
from holdfast.telemetry import Exporter
from holdfast.worker import endings, limits, linux
from holdfast.worker.connection import Connection, Handlers
from holdfast.worker.endings import Verdict
from holdfast.worker.frames import Frame
from holdfast.worker.pace import PATIENCE_SECONDS, Pace
from holdfast.worker.pool import Pool, TaskProcess
from holdfast.worker.processors import CpuWatch
from holdfast.worker.tracing import RunTelemetry, Trace, trace_of

_log = logging.getLogger("holdfast.worker")

_TICKS_PER_LOOK = 10

_REMIND_SECONDS = 30.0
"""How long the server may take to answer a report before it is repeated."""

_LATE_SECONDS = 1.0
"""How long a run may go on after it was told that its time is up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """How a worker is set up.

    Attributes:
        root: The project's folder, with its ``holdfast.toml``.
        api_url: The server's address.
        secret_key: The environment's secret key.
        version: The number of the version that this code is.
        capacity: How many runs execute at once.
        pool: The pool that the worker belongs to.
        machine: The machine preset that it runs on, when it is for one preset only.
        instance: The provider's name for it.
        labels: Free labels.
        drain_seconds: How long a drain may take before what still runs is stopped; None: for ever.
        echo: Whether what runs print also appears here.
        on_event: Told what happens, for people.
    """

    root: Path
    api_url: str
    secret_key: str = field(repr=False)
    version: str
    capacity: int = field(default_factory=lambda: os.cpu_count() or 1)
    pool: str = ""
    machine: str = ""
    instance: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    drain_seconds: float | None = None
    echo: bool = False
    on_event: Callable[[WorkerEvent], None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerEvent:
    """Something that people may want to see.

    Attributes:
        kind: ``connected``, ``disconnected``, ``ready``, ``started``, ``waiting``, ``resumed``,
            ``completed``, ``failed``, ``draining``, ``stopped``.
        run: The run it is about.
        task: The run's task.
        attempt: The number of the attempt.
        detail: An error, or why.
        seconds: Execution time of an attempt that has ended.
        will_retry: Whether a failed attempt is followed by another.
    """

    kind: str
    run: str = ""
    task: str = ""
    attempt: int = 0
    detail: str = ""
    seconds: float = 0.0
    will_retry: bool = False


@dataclass(slots=True, kw_only=True, eq=False)
class _Run:
    """A run that this worker holds."""

    order: Execute
    generation: int
    attempt: int
    process: TaskProcess | None = None
    started_at: float = 0.0
    is_started: bool = False
    suspended: Suspended | None = None
    result: Completed | Failed | Rejected | None = None
    verdict: Verdict | None = None
    cancel: Cancel | None = None
    timer: asyncio.TimerHandle | None = None
    deadline: asyncio.TimerHandle | None = None
    executed_before: float = 0.0
    taken_at: float = field(default_factory=time.monotonic)
    unanswered_since: float | None = None
    trace: Trace | None = None
    started_ns: int = 0
    cpus: CpuWatch | None = None

    @property
    def id(self) -> str:
        return self.order.run

    def disarm(self) -> None:
        for handle in (self.timer, self.deadline):
            if handle is not None:
                handle.cancel()
        self.timer = self.deadline = None


class Worker:
    """A worker, from its first connection to its end.

    Args:
        options: How it is set up.
    """

    def __init__(self, options: WorkerOptions) -> None:
        self._options = options
        self._session = str(uuid.uuid4())
        self._runs: dict[str, _Run] = {}
        self._backlog: deque[_Run] = deque()
        self._pool: Pool | None = None
        self._is_ready = False
        self._lease_seconds = 0.0
        self._is_draining = False
        self._pace = Pace()
        self._offered = 0
        self._memory_kills = (linux.out_of_memory_kills(),) * 2  # one look ago, and now
        self._over = asyncio.Event()
        self._failure: BaseException | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._exporter = Exporter(
            api_url=options.api_url,
            secret_key=options.secret_key,
            resource={
                "service.name": "holdfast-worker",
                "service.version": options.version,
                "service.instance.id": self._session,
                "holdfast.pool": options.pool or None,
            },
        )
        self._telemetry = RunTelemetry(self._exporter)
        self._handlers: dict[type[Message], Callable[[Any], None]] = {
            Execute: self._accept,
            Settled: self._settled,
            Resume: self._resume,
            Cancel: self._cancel,
            Stale: self._stale,
            Drain: lambda _: self.drain(),
            Malformed: self._malformed,
            Welcome: self._welcomed,
        }
        self._connection = Connection(
            api_url=options.api_url,
            secret_key=options.secret_key,
            handlers=Handlers(
                hello=self._hello,
                welcomed=self._welcomed,
                received=self._received,
                lost=self._disconnected,
                beat=lambda: Beat(holding=self._holding()),
            ),
        )

    # -- life ----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until drained or stopped.

        Raises:
            ConnectionRefused: The server refused this worker for good.
            ProjectFailed: The customer's code could not be imported.
        """
        self._spawn(self._keep_connected())
        self._spawn(self._watch())
        self._spawn(self._exporter.run())
        await self._over.wait()
        await self._end()
        if self._failure is not None:
            raise self._failure

    def drain(self) -> None:
        """Take nothing new, finish what is held, then end."""
        if self._is_draining:
            return
        self._is_draining = True
        self._tell("draining", detail=f"{len(self._runs)} runs to finish")
        self._offer()
        if self._options.drain_seconds is not None:
            loop = asyncio.get_running_loop()
            loop.call_later(self._options.drain_seconds, self.stop)
        self._end_if_drained()

    def stop(self) -> None:
        """Stop what runs and end; the server is told, so that it can retry at once."""
        for run in list(self._runs.values()):
            if run.result is None:
                self._conclude(run, endings.worker_stopped())
        self._over.set()

    async def _end(self) -> None:
        await self._connection.close()
        if self._pool is not None:
            await self._pool.stop()
        await self._exporter.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tell("stopped")

    async def _keep_connected(self) -> None:
        await self._connection.run()

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._spawned_ended)

    def _spawned_ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = self._failure or error
            self._over.set()

    def _end_if_drained(self) -> None:
        if self._is_draining and not self._runs:
            self._over.set()

    # -- connection ----------------------------------------------------------------------------

    def _hello(self) -> Hello:
        options, self._offered = self._options, self._slots
        return Hello(
            protocol=protocol.PROTOCOL_VERSION,
            session=self._session,
            sdk=f"python/{sdk_version()}",
            version=options.version,
            capacity=self._offered,
            pool=options.pool,
            machine=options.machine,
            instance=options.instance,
            labels=options.labels,
            holding=self._holding(),
        )

    @property
    def _slots(self) -> int:
        is_open = self._is_ready and not self._is_draining
        return self._options.capacity * self._pace.ahead if is_open else 0

    def _offer(self) -> None:
        """Tell the coordinator how many runs to send, when that has changed."""
        if self._slots != self._offered:
            self._offered = self._slots
            self._connection.send(Capacity(slots=self._offered))

    def _holding(self) -> list[Held]:
        return [Held(run=run.id, generation=run.generation) for run in self._runs.values()]

    def _welcomed(self, welcome: Welcome) -> None:
        self._lease_seconds = welcome.lease_seconds
        self._tell("connected", detail=welcome.server)
        for lost in welcome.lost:
            if lost in self._runs:
                self._forget(self._runs[lost], kill=True)
        if self._pool is None:
            self._pool = Pool(
                root=self._options.root,
                variables=self._variables(welcome),
                on_message=self._heard,
                on_ended=self._process_ended,
            )
            self._spawn(self._start_pool(self._pool))
        for run in self._runs.values():
            self._say_again(run)

    def _variables(self, welcome: Welcome) -> dict[str, str]:
        own = {
            "HOLDFAST_API_URL": self._options.api_url,
            "HOLDFAST_SECRET_KEY": self._options.secret_key,
            "HOLDFAST_ECHO": "1" if self._options.echo else "0",
        }
        return {**welcome.variables, **own}

    async def _start_pool(self, pool: Pool) -> None:
        await pool.start()
        self._is_ready = True
        pool.warm(min(self._options.capacity, os.cpu_count() or 1))
        self._offer()
        self._tell("ready", detail=f"{len(pool.tasks)} tasks")
        self._dispatch()

    def _say_again(self, run: _Run) -> None:
        """Repeat what the server may not have heard on the connection before."""
        if run.is_started:
            self._connection.send(self._started(run))
        if run.result is not None:
            self._report(run, run.result)
        elif run.suspended is not None:
            self._report(run, run.suspended)

    def _report(self, run: _Run, report: Completed | Failed | Rejected | Suspended) -> None:
        """Send what the server has to answer."""
        run.unanswered_since = time.monotonic()
        self._connection.send(report)

    def _remind(self, run: _Run, now: float) -> None:
        """Repeat a report that has had no answer for long; the server may hear it twice."""
        since = run.unanswered_since
        if since is not None and now - since > _REMIND_SECONDS and self._connection.is_up:
            self._say_again(run)

    def _disconnected(self, reason: str) -> None:
        self._tell("disconnected", detail=reason)

    # -- what the coordinator says -------------------------------------------------------------

    def _received(self, message: Message) -> None:
        self._handlers[type(message)](message)

    def _stale(self, message: Stale) -> None:
        run = self._held(message.run, message.generation)
        if run is not None:
            self._forget(run, kill=True)

    def _malformed(self, message: Malformed) -> None:
        _log.error("the coordinator did not understand a message: %s", message.detail)

    def _held(self, run: str, generation: int) -> _Run | None:
        held = self._runs.get(run)
        return held if held is not None and held.generation == generation else None

    def _accept(self, order: Execute) -> None:
        known = self._runs.get(order.run)
        if known is not None:
            if known.generation >= order.generation:
                return  # said twice
            self._forget(known, kill=True)
        run = _Run(order=order, generation=order.generation, attempt=order.attempt)
        self._runs[run.id] = run
        self._backlog.append(run)
        self._dispatch()

    def _settled(self, message: Settled) -> None:
        run = self._held(message.run, message.generation)
        if run is None:
            return
        if message.outcome == "waiting":
            run.unanswered_since = None if run.result is None else run.unanswered_since
            return
        if message.outcome == "retry_here" and run.result is not None:
            self._retry_here(run, message)
        else:
            self._forget(run, kill=run.result is None)

    def _retry_here(self, run: _Run, message: Settled) -> None:
        run.result = run.suspended = run.verdict = run.unanswered_since = None
        run.is_started, run.executed_before = False, 0.0
        run.attempt = message.attempt or run.attempt + 1
        loop = asyncio.get_running_loop()
        run.timer = loop.call_later(message.delay_ms / 1000, self._again, run)

    def _again(self, run: _Run) -> None:
        """Start the next attempt of a run that has kept its place."""
        run.timer = None
        if self._pool is not None and self._runs.get(run.id) is run:
            self._start(run, self._pool)

    def _resume(self, message: Resume) -> None:
        run = self._runs.get(message.run)
        if run is None or run.generation >= message.generation:
            return
        run.generation = message.generation
        run.suspended = run.unanswered_since = None
        if run.process is None:
            return
        run.process.send(
            {
                "op": "resume",
                "run": run.id,
                "results": [
                    {
                        "id": result.id,
                        "ok": result.ok,
                        "run": result.run,
                        "output": result.output,
                        "output_type": result.output_type,
                        "error": result.error,
                    }
                    for result in message.results
                ],
            }
        )
        self._arm_deadline(run)
        self._tell("resumed", run)
        if run.result is not None:  # it ended while it was suspended
            run.result = replace(run.result, generation=run.generation)
            self._report(run, run.result)

    def _cancel(self, message: Cancel) -> None:
        run = self._held(message.run, message.generation)
        if run is None or run.result is not None or run.cancel is not None:
            return
        run.cancel = message
        if run.process is None:
            self._conclude(run, endings.canceled(message.reason))
            return
        run.process.send({"op": "cancel", "run": run.id, "reason": message.reason})
        loop = asyncio.get_running_loop()
        verdict = endings.canceled(message.reason, grace=message.grace_seconds)
        run.timer = loop.call_later(message.grace_seconds, self._kill, run, verdict)

    # -- processes -----------------------------------------------------------------------------

    def _dispatch(self) -> None:
        """Start as many of the waiting runs as there are places."""
        pool = self._pool
        if pool is None or not self._is_ready or not self._backlog:
            return
        room = self._options.capacity - self._active
        while self._backlog and room > 0:
            run = self._backlog.popleft()
            if self._runs.get(run.id) is run and run.result is None:
                self._start(run, pool)
                room -= 1

    @property
    def _active(self) -> int:
        return sum(run.process is not None and run.suspended is None for run in self._runs.values())

    def _give_back(self) -> None:
        """Return the runs that have waited here too long for a place."""
        before = time.monotonic() - PATIENCE_SECONDS
        while self._is_ready and self._backlog and self._backlog[0].taken_at < before:
            run = self._backlog.popleft()
            if self._runs.get(run.id) is run and run.result is None:
                reason = "the worker took it ahead, and then runs became longer"
                run.result = Rejected(
                    run=run.id, generation=run.generation, reason=reason, is_fault=False
                )
                self._report(run, run.result)

    def _start(self, run: _Run, pool: Pool) -> None:
        order, task = run.order, pool.tasks.get(run.order.task, {})
        process = pool.take(fresh=task.get("isolation") == "run")
        process.busy_with, process.runs = run.id, process.runs + 1
        run.process, run.started_at, run.is_started = process, time.monotonic(), True
        run.trace, run.started_ns = trace_of(order.traceparent), time.time_ns()
        self._connection.send(self._started(run), is_urgent=False)
        process.send(
            {
                "op": "run",
                "run": run.id,
                "task": order.task,
                "payload": order.payload,
                "payload_type": order.payload_type,
                "context": _context(run),
                "max_attempts": order.max_attempts,
                "max_duration": order.max_duration_seconds,
                "metadata": order.metadata,
                "traceparent": run.trace.traceparent,
            }
        )
        self._arm_deadline(run)
        self._tell("started", run)

    def _started(self, run: _Run) -> Started:
        warm = run.process is not None and run.process.runs > 1
        return Started(run=run.id, generation=run.generation, attempt=run.attempt, warm=warm)

    def _arm_deadline(self, run: _Run) -> None:
        """Kill it some time after its own timer should have ended it."""
        limit = run.order.max_duration_seconds
        if limit is None or run.result is not None:
            return
        left = max(0.0, limit - run.executed_before) + _LATE_SECONDS
        loop = asyncio.get_running_loop()
        run.deadline = loop.call_later(left, self._kill, run, endings.over_time(limit))

    def _heard(self, process: TaskProcess, message: Frame) -> None:
        run = self._runs.get(message["run"])
        is_current = run is not None and run.process is process
        operation = message["op"]
        if operation == "done":
            self._pace.record((message["end"] - message["start"]) / 1e9)
            self._free(process, message)
            if run is not None and is_current:
                self._done(run, message)
            self._offer()
            self._dispatch()
        elif run is None or not is_current:
            return
        elif operation == "wait":
            self._suspend(run, message)
        elif operation == "telemetry" and run.trace is not None:
            self._telemetry.reported(run.order, run.attempt, run.trace, message["records"])
        elif operation == "metadata":
            self._connection.send(
                MetadataChanged(
                    run=run.id, generation=run.generation, operations=message["operations"]
                )
            )

    def _free(self, process: TaskProcess, message: Frame) -> None:
        pool = self._pool
        if pool is None:
            return
        run = self._runs.get(message["run"])
        task = pool.tasks.get(run.order.task, {}) if run is not None else {}
        if run is not None and run.cpus is not None:
            run.cpus.release()
        pool.give_back(process, used_up=message["exit"] or task.get("isolation") == "run")
        pool.trim(self._options.capacity)

    def _suspend(self, run: _Run, message: Frame) -> None:
        run.suspended = Suspended(
            run=run.id,
            generation=run.generation,
            waitpoints=message["waitpoints"],
            executed_ms=message["executed_ms"],
        )
        run.executed_before = message["executed_ms"] / 1000
        if run.deadline is not None:
            run.deadline.cancel()
            run.deadline = None
        self._report(run, run.suspended)
        self._tell("waiting", run)
        self._dispatch()

    def _done(self, run: _Run, message: Frame) -> None:
        run.disarm()
        run.process = None
        if run.verdict is not None:  # it ended in the very moment in which it was to be killed
            self._conclude(run, run.verdict)
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
            self._tell("completed", run, seconds=message["executed_ms"] / 1000)
        else:
            run.result = Failed(
                outcome=message["ending"],
                error=message["error"],
                retry_delay_ms=message["retry_delay_ms"],
                **common,
            )
            self._tell_failed(run, run.result)
        self._record_span(run)
        self._report(run, run.result)

    def _record_span(self, run: _Run) -> None:
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

    def _process_ended(self, process: TaskProcess) -> None:
        run = self._runs.get(process.busy_with or "")
        if run is None or run.process is not process:
            return
        run.process = None
        verdict = run.verdict
        if verdict is None and run.cancel is not None:
            verdict = endings.canceled(run.cancel.reason)
        if verdict is None:
            kills = linux.out_of_memory_kills() - self._memory_kills[0]
            verdict = endings.process_ended(process.status or 0, memory_kills=kills)
        self._conclude(run, verdict)
        self._dispatch()

    def _kill(self, run: _Run, verdict: Verdict) -> None:
        """Kill a run's process; the verdict is told when it is really gone."""
        if run.process is not None and run.verdict is None:
            run.verdict = verdict
            run.process.kill()

    def _conclude(self, run: _Run, verdict: Verdict) -> None:
        """Report a run that its own process will not report."""
        executed = time.monotonic() - run.started_at if run.is_started else 0.0
        run.disarm()
        if run.process is not None:
            run.process.kill()
            run.process = None
        policy = self._pool.tasks.get(run.order.task, {}) if self._pool is not None else {}
        run.result = Failed(
            run=run.id,
            generation=run.generation,
            attempt=run.attempt,
            outcome=verdict.outcome,
            error=verdict.error,
            retry_delay_ms=endings.retry_delay_ms(
                verdict,
                policy=policy.get("retry", {}),
                attempt=run.attempt,
                max_attempts=run.order.max_attempts,
            ),
            executed_ms=round(executed * 1000),
        )
        self._tell_failed(run, run.result)
        self._record_span(run)
        self._report(run, run.result)

    def _forget(self, run: _Run, *, kill: bool) -> None:
        """The run is not this worker's any more."""
        run.disarm()
        if self._runs.get(run.id) is run:
            del self._runs[run.id]
        if kill and run.process is not None:
            run.process.kill()
        run.process = None
        self._end_if_drained()

    # -- watching ------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Look at leases and limits until the end."""
        for tick in itertools.count():
            await asyncio.sleep(limits.INTERVAL_SECONDS)
            self._fence()
            self._give_back()
            if tick % _TICKS_PER_LOOK == 0:
                self._memory_kills = (self._memory_kills[1], linux.out_of_memory_kills())
            now = time.monotonic()
            for run in list(self._runs.values()):
                self._remind(run, now)
                if run.process is None or now - run.started_at < limits.INTERVAL_SECONDS:
                    continue
                if run.suspended is not None and tick % _TICKS_PER_LOOK:
                    continue  # it does nothing, and there may be many
                verdict = self._over_limit(run)
                if verdict is not None:
                    self._kill(run, verdict)
                elif tick % _TICKS_PER_LOOK == 0:
                    self._watch_cpus(run, now)

    def _over_limit(self, run: _Run) -> Verdict | None:
        process = run.process
        if process is None or process.pid is None or process.status is not None:
            return None
        return limits.exceeded(process.pid, get_machine(run.order.machine))

    def _watch_cpus(self, run: _Run, now: float) -> None:
        process = run.process
        if process is None or process.pid is None or process.busy_with != run.id:
            return
        if run.cpus is None:
            run.cpus = CpuWatch(process.pid, get_machine(run.order.machine))
        run.cpus.look(now, most_processes=limits.MAX_PROCESSES)

    def _fence(self) -> None:
        """Stop what may run elsewhere by now: no contact for the length of a lease."""
        silence = time.monotonic() - self._connection.contact
        if not self._lease_seconds or silence <= self._lease_seconds:
            return
        for run in list(self._runs.values()):
            if run.result is None:
                _log.warning("no contact for %.0f s: stopping %s", silence, run.id)
                self._forget(run, kill=True)

    # -- people --------------------------------------------------------------------------------

    def _tell_failed(self, run: _Run, result: Failed) -> None:
        self._tell(
            "failed",
            run,
            detail=f"{result.outcome}: {result.error.get('message', '')}",
            seconds=result.executed_ms / 1000,
            will_retry=result.retry_delay_ms is not None,
        )

    def _tell(self, kind: str, run: _Run | None = None, **fields: Any) -> None:
        if self._options.on_event is None:
            return
        if run is not None:
            fields |= {"run": run.id, "task": run.order.task, "attempt": run.attempt}
        self._options.on_event(WorkerEvent(kind=kind, **fields))


def _context(run: _Run) -> dict[str, Any]:
    """The context of the attempt that starts now; a retry here is not in the server's order."""
    context = run.order.context
    attempt = {**(context.get("attempt") or {}), "number": run.attempt}
    return {**context, "attempt": attempt}
