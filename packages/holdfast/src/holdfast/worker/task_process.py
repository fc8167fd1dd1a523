"""A task process: one run at a time, told and telling over its socket to the worker."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import os
import random
import signal
import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from holdfast import context as contexts
from holdfast import packets
from holdfast._http import Retry as HttpRetry
from holdfast.api_errors import ApiError
from holdfast.attempts import Attempt, AttemptResult
from holdfast.client import HoldfastClient
from holdfast.client.results import BatchHandle, RunHandle, RunResult
from holdfast.client.triggers import BatchItem, TriggerOptions
from holdfast.errors import BatchAbandoned, HoldfastError, internal_error
from holdfast.hooks import run_hooks_safely
from holdfast.ids import new_waitpoint_id, waitpoint_id_of
from holdfast.journal import Journal, ignore_evictions, make_task
from holdfast.log import capture_output
from holdfast.metadata import RunMetadata
from holdfast.protocol import Entry, WaitpointResult, fields_of
from holdfast.recording import Recording
from holdfast.runtime import RunState
from holdfast.tasks import registry
from holdfast.tokens import RemoteTokens
from holdfast.waits import Suspension, WaitBoard, milliseconds
from holdfast.worker import linux
from holdfast.worker.frames import Frame, FrameProtocol
from holdfast.worker.pool import RUNS_PER_PROCESS
from holdfast.worker.tray import read

PATIENCE_SECONDS = 900.0
"""How long a call to the API is tried while the server is away."""

_log = logging.getLogger("holdfast.worker")

_FLUSH_SECONDS = 0.25
_RECORD_SECONDS = 0.002
_MAX_RECORDS = 5_000
_MAX_BACKLOG_BYTES = 4 * 1024 * 1024
_THREADS = 8
_VICTIM_SCORE = 500
_NICE = 5


def run_task_process(channel: socket.socket, tray: socket.socket | None = None) -> int:
    """Be a task process until told to end, or until the worker is gone.

    Args:
        channel: This process's end of its socket pair.
        tray: Where further runs lie, for any process that has ended one.

    Returns:
        The exit status.
    """
    os.setsid()
    linux.adopt_orphans()
    linux.die_with_parent(signal.SIGKILL)
    linux.prefer_as_victim(_VICTIM_SCORE)
    with contextlib.suppress(OSError):
        os.nice(_NICE)  # the worker's own beats come first
    random.seed()
    capture_output(passes_on=os.environ.get("HOLDFAST_ECHO") == "1")
    try:
        asyncio.run(TaskProcess(channel, tray).run())
    except SystemExit as error:  # out of a background task of the customer's
        return error.code if isinstance(error.code, int) else 1
    return 0


class TaskProcess:
    """The event loop's side of a task process."""

    def __init__(self, channel: socket.socket, tray: socket.socket | None) -> None:
        self._channel = channel
        self._tray = tray
        self._context = contextvars.copy_context()
        self._machine: str | None = None
        self._runs = 0
        self._pid = os.getpid()
        self._ended = asyncio.Event()
        self._link = FrameProtocol(self._received, self._ended.set)
        self._client: HoldfastClient | None = None
        self._run: _Run | None = None
        self._own_tasks: set[asyncio.Task[Any]] = set()
        self._has_strays = False

    async def run(self) -> None:
        """Work until the worker closes the socket."""
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(_THREADS, thread_name_prefix="task"))
        loop.set_task_factory(self._made_task)
        loop.set_exception_handler(ignore_evictions)
        own = asyncio.current_task()
        if own is not None:
            self._own_tasks.add(own)
        await loop.create_connection(lambda: self._link, sock=self._channel)
        await self._ended.wait()
        os._exit(0)  # threads of the customer's must not keep it

    def send(self, message: Frame) -> None:
        """Tell the worker something; a forked copy of this process says nothing."""
        if os.getpid() != self._pid:
            os._exit(0)
        self._link.send(message)

    @property
    def is_congested(self) -> bool:
        """Whether the worker reads too slowly for telemetry to be worth sending."""
        return self._link.backlog_bytes > _MAX_BACKLOG_BYTES

    @property
    def client(self) -> HoldfastClient:
        """The client of the API, which outlasts a restart of the server."""
        if self._client is None:
            patience = HttpRetry(
                patience_seconds=PATIENCE_SECONDS, base_seconds=0.2, longest_seconds=10.0
            )
            self._client = HoldfastClient(retry=patience)
        return self._client

    def _received(self, message: Frame) -> None:
        operation, run = message["op"], self._run
        if operation == "run":
            self._machine = message["machine"]
            self._begin(message)
        elif operation == "exit":
            self._ended.set()
        elif operation == "present":  # what this process has taken it has said before
            self.send({"op": "present", "number": message["number"]})
        elif run is not None and run.id == message["run"]:  # else it has ended in the meantime
            self._received_for(run, message)

    def _received_for(self, run: _Run, message: Frame) -> None:
        operation = message["op"]
        if operation == "resume":
            run.resume([WaitpointResult(**result) for result in message["results"]])
        elif operation == "recorded":
            run.recorded(message["through"])
        elif operation == "evict":
            run.evict()
        elif operation == "cancel":
            run.cancel(message.get("reason", ""))
        elif operation == "prepare":
            asyncio.get_running_loop().create_task(self._prepare(run))

    def _begin(self, order: Frame) -> None:
        """Execute a run, of which nothing that the runs before have set is seen."""
        run = self._run = _Run(self, order)
        self._runs += 1
        loop, context = asyncio.get_running_loop(), self._context.copy()
        run.task = loop.create_task(self._execute(run), context=context)
        self._has_strays = False

    async def _prepare(self, run: _Run) -> None:
        """Close what is open to the outside: this process is about to be frozen."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()
        self.send({"op": "prepared", "run": run.id})

    async def _execute(self, run: _Run) -> None:
        started = time.time_ns()
        result = await run.execute()
        await run.finish()
        is_free = not (self._has_strays and self._stop_strays(run))
        self._run = None
        done = _done(run.id, result, started)
        done["is_alone"] = run.is_alone
        order = self._take() if is_free and not (result.must_exit or run.is_alone) else None
        is_fit = order is not None and order["machine"] == self._machine
        done["took"] = order["slip"] if order is not None and is_fit else None
        done["returned"] = order["slip"] if order is not None and not is_fit else None
        self.send(done)
        await self._link.drain()  # the next one is not to begin before the worker knows
        if order is not None and is_fit:
            self._begin(order)

    def _take(self) -> Frame | None:
        """The next run from the tray, for a process that can have one."""
        if os.getpid() != self._pid:
            os._exit(0)
        is_used_up = self._runs >= RUNS_PER_PROCESS or self._ended.is_set()
        if self._tray is None or is_used_up or self._link.backlog_bytes:
            return None
        return read(self._tray)

    def _made_task(self, loop: Any, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        """Make a task, and remember that there may be some to end with the attempt."""
        self._has_strays = True
        return make_task(loop, coroutine, **options)

    def _stop_strays(self, run: _Run) -> bool:
        """End what the task has left running on the loop; whether there was anything."""
        strays = asyncio.all_tasks() - self._own_tasks
        if run.task is not None:
            strays.discard(run.task)
        for stray in strays:
            stray.cancel()
        return bool(strays)


class _Run:
    """The attempt that this process executes, and its runtime."""

    def __init__(self, process: TaskProcess, order: Frame) -> None:
        self.id: str = order["run"]
        self.is_alone: bool = order["is_alone"]
        self.task: asyncio.Task[None] | None = None
        self._process = process
        self._order = order
        self._loop = asyncio.get_running_loop()
        self._board = WaitBoard(run=self.id, suspend=self._suspend, resume=self._resumed)
        self._metadata = RunMetadata(order.get("metadata"), on_change=self._flush_soon)
        self._records: list[Frame] = []
        self._is_flushing = False
        self._sending: set[asyncio.Task[None]] = set()
        self._attempt: Attempt | None = None
        self._canceled: str | None = None
        self._resumes = 0
        self._journal: Journal | None = None
        self._replaying = contextlib.ExitStack()
        self._is_recording = False

    async def execute(self) -> AttemptResult:
        """Run the attempt to its end."""
        order = self._order
        task = registry.get(order["task"])
        if task is None:
            known = ", ".join(sorted(t.id for t in registry)) or "none"
            message = f"This version has no task {order['task']!r}; it has: {known}"
            return AttemptResult(
                ending="failed", error=internal_error("COULD_NOT_FIND_TASK", message)
            )
        state = RunState(
            context=contexts.from_wire(order["context"]),
            runtime=self,
            task=task,
            metadata=self._metadata,
            loop=self._loop,
            traceparent=order.get("traceparent"),
            is_resumed=order.get("is_resumed", False),
            executed_before=order.get("executed_before", 0.0),
        )
        payload = await self._payload(order)
        if task.durable:
            await self._open_journal(state, order)
        self._attempt = Attempt(
            state=state,
            payload=payload.data,
            payload_type=payload.data_type,
            max_attempts=order["max_attempts"],
            max_duration=order.get("max_duration"),
            on_stop=self._board.cancel,
        )
        if self._canceled is not None:
            self._attempt.stop("canceled", self._canceled)
        return await self._attempt.run()

    async def _payload(self, order: Frame) -> packets.Packet:
        """The payload, fetched from object storage when it is there."""
        if order["payload_type"] != packets.STORE:
            return packets.Packet(order["payload"], order["payload_type"])
        return packets.encode(await self._process.client.runs.payload(self.id))

    async def finish(self) -> None:
        """Send everything that is still here; what still waits on the loop waits for nothing."""
        self._board.cancel()
        self._flush()
        self._record()
        if self._sending:
            await asyncio.wait(self._sending)

    def evict(self) -> None:
        """Leave the run where it waits: it goes on in another process."""
        if self._attempt is not None:
            self._attempt.evict()

    def recorded(self, through: int) -> None:
        """The server keeps what was recorded up to here."""
        if self._journal is not None:
            self._journal.acknowledged(through)

    def cancel(self, reason: str) -> None:
        """Ask the attempt to stop."""
        self._canceled = reason
        if self._attempt is not None:
            self._attempt.stop("canceled", reason)

    def resume(self, results: Sequence[WaitpointResult]) -> None:
        """Go on with completed waitpoints."""
        self._resumes += 1
        self._loop.create_task(self._board.resumed(results))

    async def _open_journal(self, state: RunState, order: Frame) -> None:
        """Let the run go on from what was recorded, with what has completed meanwhile."""
        entries = [Entry(**entry) for entry in order.get("journal", ())]
        if len(entries) < order.get("journal_length", 0):
            entries = [entry async for entry in self._process.client.runs.journal(self.id)]
        journal = self._journal = Journal(
            seed=self.id,
            entries=entries,
            on_pending=self._record_soon,
            on_frontier=self._caught_up,
        )
        self._board.knows([WaitpointResult(**result) for result in order.get("results", ())])
        self._metadata.is_muted = lambda: journal.is_replaying
        if journal.is_replaying:
            self._replaying.enter_context(self._board.replaying())
        state.journal = journal
        state.runtime = Recording(self, journal, run_id=self.id)

    def _caught_up(self) -> None:
        self._replaying.close()
        if self._attempt is not None:
            self._attempt.caught_up()

    # -- what the SDK asks for (holdfast.runtime.Runtime) --------------------------------------

    async def trigger(self, task: str, payload: Any, options: TriggerOptions) -> RunHandle:
        """Start a run over HTTP."""
        with self._board.busy():
            return await self._process.client.trigger(task, payload, **options)

    async def batch_trigger(
        self, items: Sequence[BatchItem], options: TriggerOptions
    ) -> BatchHandle:
        """Start many runs over HTTP."""
        with self._board.busy():
            return await self._process.client.batch_trigger(items, **options)

    async def wait_for_run(self, handle: RunHandle) -> WaitpointResult:
        """Suspend until the child has ended."""
        result = await self._board.wait(_waitpoint(handle))
        if result.output_type != packets.STORE:
            return result
        with self._board.busy():
            stored = await self._process.client.runs.result(result.run or handle.id)
        packet = packets.encode(None if stored is None else stored.output)
        return replace(result, output=packet.data, output_type=packet.data_type)

    async def wait_for_batch(self, handle: BatchHandle) -> list[RunResult]:
        """Suspend until the batch has ended, then read its results."""
        ended = await self._board.wait(_waitpoint(handle))
        if not ended.ok:
            reason = str((ended.error or {}).get("message", "nobody knows why"))
            raise BatchAbandoned(batch_id=handle.id, reason=reason)
        with self._board.busy():
            return await self._process.client.batches.results(handle.id)

    def now(self) -> datetime:
        """By this machine's clock."""
        return datetime.now(UTC)

    async def wait_until(self, moment: datetime, *, key: str | None) -> None:
        """Suspend until a moment; one that is over does not suspend."""
        if key is None and moment <= self.now():
            return
        waitpoint = new_waitpoint_id() if key is None else waitpoint_id_of(self.id, key)
        await self._board.wait(waitpoint, due_ms=milliseconds(moment))

    async def rest_until(self, moment: datetime, *, key: str) -> None:
        """Suspend until a moment, in the middle of a step."""
        if moment > self.now():
            with self._board.resting():
                await self.wait_until(moment, key=key)

    async def wait_for_token(self, token: str) -> WaitpointResult:
        """Suspend until a token is over."""
        return await self._board.wait(token)

    async def wait_for_input(self, key: str, *, until: datetime | None) -> WaitpointResult:
        """Suspend until the next item has come, or until a moment."""
        return await self._board.wait_for_input(key, due_ms=milliseconds(until))

    def has_taken(self, key: str, seq: int) -> None:
        """Know that an item was taken."""
        self._board.mark_taken(key, seq)

    def put_back(self, item: WaitpointResult) -> None:
        """Take an item back."""
        self._board.put_back(item)

    @property
    def tokens(self) -> RemoteTokens:
        """Those of the environment."""
        return RemoteTokens(self._process.client, self._board.busy)

    async def change_metadata(self, target: str, operations: list[Frame]) -> None:
        """Send operations: the run's own through the worker, others over HTTP."""
        if target == "self":
            self._process.send({"op": "metadata", "run": self.id, "operations": operations})
            return
        runs = self._process.client.runs
        with self._board.busy():
            if target == "parent":
                await runs.change_metadata(self.id, parent_operations=operations)
            else:
                await runs.change_metadata(self.id, root_operations=operations)

    async def add_tags(self, tags: list[str]) -> None:
        """Add tags over HTTP."""
        with self._board.busy():
            await self._process.client.runs.add_tags(self.id, tags)

    def busy(self) -> contextlib.AbstractContextManager[None]:
        """Hold off a suspension."""
        return self._board.busy()

    async def keep(self, packet: packets.Packet) -> packets.Packet:
        """Put a large packet into object storage."""
        with self._board.busy():
            return await self._process.client.packets.store(packet, name=f"journal/{self.id}")

    async def load(self, packet: packets.Packet) -> packets.Packet:
        """Get a large packet back."""
        with self._board.busy():
            return await self._process.client.packets.load(packet)

    def emit(self, record: Frame) -> None:
        """Keep a record for the next flush."""
        if len(self._records) < _MAX_RECORDS:
            self._records.append(record)
            self._flush_soon()

    # -- waiting and flushing ------------------------------------------------------------------

    async def _suspend(self, suspension: Suspension) -> None:
        attempt = self._attempt
        if attempt is None:
            return
        state = attempt.state
        await run_hooks_safely(state.task.hooks, "on_wait", ctx=state.context)
        self._flush()
        self._record()
        attempt.suspended()
        self._process.send(
            {
                "op": "wait",
                "run": self.id,
                "waitpoints": suspension.waitpoints,
                "times": [fields_of(time) for time in suspension.times],
                "inputs": [fields_of(item) for item in suspension.inputs],
                "resumes": self._resumes,
                "executed_ms": round(attempt.watch.elapsed * 1000),
            }
        )

    async def _resumed(self) -> None:
        attempt = self._attempt
        if attempt is not None:
            attempt.resumed()
            state = attempt.state
            contexts.current_run.set(state)  # the order to go on came from outside of the run
            await run_hooks_safely(state.task.hooks, "on_resume", ctx=state.context)

    def _record_soon(self) -> None:
        """Send what the journal has new: at once when the code waits for it, else with more."""
        if self._journal is not None and self._journal.is_waited_for:
            self._loop.call_soon_threadsafe(self._record)
        elif not self._is_recording:
            self._is_recording = True
            self._loop.call_soon_threadsafe(self._loop.call_later, _RECORD_SECONDS, self._record)

    def _record(self) -> None:
        self._is_recording = False
        journal = self._journal
        if journal is None or not journal.has_pending:
            return
        operations = self._metadata.take("self")
        if operations:  # a journal that has come further than the metadata would leave these out
            self._process.send({"op": "metadata", "run": self.id, "operations": operations})
        self._process.send(
            {
                "op": "steps",
                "run": self.id,
                "is_urgent": journal.is_waited_for,
                "entries": [fields_of(entry) for entry in journal.take()],
            }
        )

    def _flush_soon(self) -> None:
        if not self._is_flushing:
            self._is_flushing = True
            self._loop.call_soon_threadsafe(self._loop.call_later, _FLUSH_SECONDS, self._flush)

    def _flush(self) -> None:
        self._is_flushing = False
        operations = self._metadata.take("self")
        if operations:
            self._process.send({"op": "metadata", "run": self.id, "operations": operations})
        records, self._records = self._records, []
        if records and not self._process.is_congested:
            self._process.send({"op": "telemetry", "run": self.id, "records": records})
        for target in list(self._metadata.pending):
            sending = self._loop.create_task(self._send_to(target, self._metadata.take(target)))
            self._sending.add(sending)
            sending.add_done_callback(self._sending.discard)

    async def _send_to(self, target: str, operations: list[Frame]) -> None:
        """Change an ancestor's metadata; the run's own result is worth more than a failure here."""
        try:
            await self.change_metadata(target, operations)
        except ApiError as error:
            _log.warning("metadata of the %s was not changed: %s", target, error)


def _waitpoint(handle: RunHandle | BatchHandle) -> str:
    if handle.waitpoint_id is None:
        raise HoldfastError(f"the server gave no waitpoint for {handle.id}: is it too old?")
    return handle.waitpoint_id


def _done(run: str, result: AttemptResult, started: int) -> Frame:
    return {
        "op": "done",
        "run": run,
        "ending": result.ending,
        "output": result.output,
        "output_type": result.output_type,
        "error": result.error,
        "retry_delay_ms": None if result.retry_delay is None else round(result.retry_delay * 1000),
        "executed_ms": round(result.executed * 1000),
        "exit": result.must_exit,
        "rewind": list(result.rewind),
        "start": started,
        "end": time.time_ns(),
    }
