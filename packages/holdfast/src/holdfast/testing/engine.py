"""The engine of a bench: the life of a run, in memory, by the rules of the real one."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from holdfast import context as contexts
from holdfast import packets
from holdfast.attempts import Attempt, AttemptResult
from holdfast.client.results import BatchHandle, RunHandle, RunResult
from holdfast.client.triggers import BatchItem, TriggerOptions, duration_text
from holdfast.durations import length_of
from holdfast.errors import NonDeterminismError, internal_error
from holdfast.hooks import run_hooks_safely
from holdfast.ids import new_waitpoint_id, waitpoint_id_of
from holdfast.journal import Journal
from holdfast.machines import get_machine
from holdfast.metadata import RunMetadata
from holdfast.metadata import apply as apply_metadata
from holdfast.protocol import WaitpointResult
from holdfast.recording import Recording
from holdfast.runtime import RunState
from holdfast.tags import MAX_TAGS, check_tags
from holdfast.tasks import Registry, Task, registry
from holdfast.testing.crashes import Crash, Crashed, Crashes, Keeper, rewound
from holdfast.testing.history import History
from holdfast.testing.inputs import BenchInputs
from holdfast.testing.runs import BenchAttempt, BenchRun
from holdfast.testing.tokens import BenchTokens
from holdfast.waits import Suspension, WaitBoard, milliseconds

GRACE_SECONDS = 30.0
"""How long a canceled run may take to stop."""

_STATUS = {
    "completed": "COMPLETED",
    "failed": "FAILED",
    "crashed": "CRASHED",
    "timed_out": "TIMED_OUT",
    "canceled": "CANCELED",
}


@dataclass(slots=True, kw_only=True, eq=False)
class Life:
    """A run and what the engine knows of it beyond what it shows."""

    run: BenchRun
    payload: packets.Packet
    result: packets.Packet = field(default_factory=lambda: packets.encode(None))
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    attempt: Attempt | None = None
    suspension: Suspension | None = None
    journal: Journal | None = None
    executed: float = 0.0
    has_crashed: bool = False
    driver: asyncio.Task[None] | None = None

    def as_result(self) -> WaitpointResult:
        """What a parent that waits for it is told."""
        run = self.run
        return WaitpointResult(
            id=run.id,
            ok=run.status == "COMPLETED",
            run=run.id,
            output=self.result.data,
            output_type=self.result.data_type,
            error=run.error,
        )


class Engine:
    """Triggers and drives runs.

    Args:
        tasks: Where to look tasks up.
        environment: The type of environment that tasks see.
        clock: What time it is.
        crash: Where to end a process.
        evicts: Whether durable runs that wait leave their process.
        history: What to replay: durable runs do nothing but what it has recorded.
    """

    def __init__(
        self,
        *,
        tasks: Registry,
        environment: str,
        clock: Callable[[], datetime],
        crash: Crash | None = None,
        evicts: bool = True,
        history: History | None = None,
    ) -> None:
        self.crashes = Crashes(crash)
        self.evicts = evicts
        self.history = history
        self.batches: dict[str, list[BenchRun]] = {}
        self.runs: list[BenchRun] = []
        self.tokens = BenchTokens(clock)
        self.inputs = BenchInputs(clock)
        self.clock = clock
        self._times: dict[str, int] = {}
        self._tasks = tasks
        self._environment = environment
        self._lives: dict[str, Life] = {}
        self._keys: dict[tuple[str, str], BenchRun] = {}

    async def trigger(
        self, given: BatchItem, parent: BenchRun | None = None
    ) -> tuple[BenchRun, bool]:
        """Make a run, or find the one that has the idempotency key already."""
        key = (given.task, given.options.get("idempotency_key") or "")
        if key[1] and key in self._keys:
            return self._keys[key], True
        run = BenchRun(
            id=f"run_{len(self.runs) + 1}" if self.history is None else self.history.run,
            task=given.task,
            payload=given.payload,
            options=given.options,
            created_at=self.clock(),
            tags=list(given.options.get("tags", ())),
            metadata=dict(given.options.get("metadata", {})),
            parent=parent,
        )
        if key[1]:
            self._keys[key] = run
        if parent is not None:
            parent.children.append(run)
        self._begin(run)
        return run, False

    def life_of(self, run_id: str) -> Life:
        """What the engine knows of a run."""
        return self._lives[run_id]

    async def over(self, waitpoint: str, due_ms: int | None) -> WaitpointResult:
        """How a waitpoint ends, once it has: a time, a token, or a run."""
        if due_ms is not None:
            due = self._times.setdefault(waitpoint, due_ms) / 1000
            await asyncio.sleep(max(0.0, due - self.clock().timestamp()))
            return WaitpointResult(id=waitpoint, ok=True)
        if waitpoint in self.tokens:
            return await self.tokens.result_of(waitpoint)
        life = self._lives[waitpoint]
        await life.ended.wait()
        return life.as_result()

    async def end_of(self, run: BenchRun) -> None:
        """Wait until a run has ended."""
        await self._lives[run.id].ended.wait()

    async def send(self, run: BenchRun, key: str, data: Any) -> None:
        """Send an item to an input of a run."""
        self.inputs.send(run.id, key, data)

    async def settle(self) -> None:
        """Wait until every run that can end has ended."""
        while waiting := [run for run in self.runs if not run.is_final and self._is_driven(run)]:
            await self.end_of(waiting[0])

    async def cancel(self, run: BenchRun, reason: str) -> None:
        """Cancel a run and its children."""
        for child in run.children:
            await self.cancel(child, reason)
        life = self._lives[run.id]
        if life.attempt is not None:
            life.attempt.stop("canceled", reason)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GRACE_SECONDS):
                    await life.ended.wait()
        if not run.is_final:
            if life.driver is not None:
                life.driver.cancel()
            error = internal_error("TASK_RUN_CANCELLED", "The run was canceled")
            self._end(life, AttemptResult(ending="canceled", error=error))

    async def stop(self) -> None:
        """Break off everything."""
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for other in others:
            other.cancel()
        if others:
            await asyncio.wait(others, timeout=GRACE_SECONDS)

    def difference(self, run: BenchRun) -> NonDeterminismError | None:
        """What a run has done otherwise than the history that it was given."""
        journal = self._lives[run.id].journal
        if journal is None or self.history is None:
            return None
        if journal.broken is not None or self.history.status != "COMPLETED":
            return journal.broken
        # a call that the code had given up when it ended was not recorded either
        return journal.surplus(is_over=run.is_final)

    def blocked_threads(self) -> int:
        """How many threads of tasks wait for the event loop."""
        attempts = [life.attempt for life in self._lives.values() if life.attempt is not None]
        return sum(attempt.state.blocked_threads for attempt in attempts)

    def _begin(self, run: BenchRun) -> None:
        life = self._lives[run.id] = Life(run=run, payload=packets.encode(run.payload))
        self.runs.append(run)
        task = self._tasks.get(run.task)
        if task is None:
            run.status = "PENDING_VERSION"
        else:
            life.driver = asyncio.get_running_loop().create_task(self._live(life, task))

    def _is_driven(self, run: BenchRun) -> bool:
        return self._lives[run.id].driver is not None

    async def _live(self, life: Life, task: Task[Any, Any]) -> None:
        """One run, from its queue to its end."""
        run = life.run
        await self._delay(run)
        most = run.options.get("max_attempts") or (task.retry or registry.default_retry).attempts
        for number in itertools.count(1):
            run.status = "EXECUTING"
            started = self.clock()
            result = await self._through_waits(life, task, number, most)
            run.attempts.append(
                BenchAttempt(
                    number=number,
                    started_at=started,
                    ended_at=self.clock(),
                    ending=result.ending,
                    error=result.error,
                )
            )
            if result.retry_delay is None:
                self._end(life, result)
                return
            run.journal[:] = rewound(run.journal, result.rewind)
            run.status = "QUEUED"
            await asyncio.sleep(result.retry_delay)

    async def _through_waits(
        self, life: Life, task: Task[Any, Any], number: int, most: int
    ) -> AttemptResult:
        """One attempt, in as many processes as it takes."""
        life.executed = 0.0
        results: list[WaitpointResult] | None = None
        while True:
            result = await self._attempt(life, task, number, most, results)
            life.executed += result.executed
            if life.has_crashed:
                return _crashed(life, task, number, most)
            if result.ending != "evicted" or life.suspension is None:
                return result
            suspension, life.suspension = life.suspension, None
            life.run.evictions += 1
            results = await self.first_over(life.run, suspension)
            life.run.status = "EXECUTING"

    async def first_over(self, run: BenchRun, suspension: Suspension) -> list[WaitpointResult]:
        """What is over of what a run waits for, once anything is."""
        due = {time.id: time.due_ms for time in suspension.times}
        items = {item.id: item for item in suspension.inputs}
        waiting = [
            asyncio.ensure_future(
                self.inputs.result_of(run.id, items[waitpoint])
                if waitpoint in items
                else self.over(waitpoint, due.get(waitpoint))
            )
            for waitpoint in suspension.waitpoints
        ]
        try:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waiting:
                each.cancel()
        return [each.result() for each in waiting if each in done]

    async def _delay(self, run: BenchRun) -> None:
        delay = run.options.get("delay")
        if delay is not None:
            run.status = "DELAYED"
            await asyncio.sleep(self._seconds_until(delay))
            run.status = "QUEUED"

    def _seconds_until(self, delay: Any) -> float:
        if isinstance(delay, datetime):
            aware = delay if delay.tzinfo else delay.replace(tzinfo=UTC)
            return max(0.0, (aware - self.clock()).total_seconds())
        return length_of(duration_text(delay)).total_seconds()

    async def _attempt(
        self,
        life: Life,
        task: Task[Any, Any],
        number: int,
        most: int,
        results: Sequence[WaitpointResult] | None,
    ) -> AttemptResult:
        run = life.run
        runtime = _BenchRuntime(self, life)
        state = RunState(
            context=contexts.from_wire(self._context(run, task, number, most)),
            runtime=runtime,
            task=task,
            metadata=runtime.metadata,
            loop=asyncio.get_running_loop(),
            is_resumed=results is not None,
            executed_before=life.executed,
        )
        if task.durable:
            runtime.open_journal(state, results or ())
        life.attempt = Attempt(
            state=state,
            payload=life.payload.data,
            payload_type=life.payload.data_type,
            max_attempts=most,
            max_duration=run.options.get("max_duration") or task.max_duration,
            on_stop=runtime.board.cancel,
        )
        try:
            return await life.attempt.run()
        finally:
            life.attempt = None
            await runtime.finish()

    def _context(
        self, run: BenchRun, task: Task[Any, Any], number: int, most: int
    ) -> dict[str, Any]:
        queue = run.options.get("queue") or task.queue_name
        now = self.clock().isoformat()
        return {
            "run": {
                "id": run.id,
                "tags": run.tags,
                "isTest": run.options.get("test", False),
                "createdAt": run.created_at.isoformat(),
                "startedAt": now,
                "maxAttempts": most,
                "idempotencyKey": run.options.get("idempotency_key_options", {}).get("key"),
                "parentId": run.parent.id if run.parent else None,
                "rootId": _root(run).id if run.parent else None,
                "priority": run.options.get("priority"),
            },
            "attempt": {"number": number, "startedAt": now},
            "task": {"id": task.id, "filePath": task.file_path},
            "queue": {"id": f"queue_{queue}", "name": queue},
            "environment": {"id": "env_bench", "slug": "dev", "type": self._environment},
            "organization": {"id": "org_bench", "slug": "bench", "name": "Bench"},
            "project": {"id": "proj_bench", "ref": "proj_bench", "slug": "bench", "name": "Bench"},
            "machine": get_machine(run.options.get("machine") or task.machine).name,
        }

    def _end(self, life: Life, result: AttemptResult) -> None:
        run = life.run
        if run.is_final:
            return
        life.result = packets.Packet(result.output, result.output_type)
        run.status = _STATUS[result.ending]
        run.error, run.output = result.error, packets.decode(*life.result)
        run.finished_at = self.clock()
        if run.status != "COMPLETED":  # a failed run frees its key
            self._keys = {key: other for key, other in self._keys.items() if other is not run}
        life.ended.set()


class _BenchRuntime:
    """What a run on a bench has for surroundings (see `holdfast.runtime.Runtime`)."""

    def __init__(self, engine: Engine, life: Life) -> None:
        self.metadata = RunMetadata()
        self.metadata.values = life.run.metadata  # shown while the run executes
        self.board = WaitBoard(run=life.run.id, suspend=self._suspend, resume=self._resumed)
        self._engine = engine
        self._life = life
        self._keeper: Keeper | None = None
        self._replaying = contextlib.ExitStack()
        self._watch: asyncio.Task[None] | None = None

    def open_journal(self, state: RunState, results: Sequence[WaitpointResult]) -> None:
        """Let the run go on from what is kept of it, with what has completed meanwhile."""
        kept, history = self._life.run.journal, self._engine.history
        if history is not None:
            kept[:] = history.journal
        self._keeper = Keeper(kept, self._engine.crashes, on_crash=self._crash)
        journal = self._keeper.journal = Journal(
            seed=self._life.run.id,
            entries=kept,
            on_pending=self._keeper.keep_soon,
            on_frontier=self._caught_up,
            is_sealed=self._engine.history is not None,
        )
        self.board.knows(results)
        self.metadata.is_muted = lambda: journal.is_replaying
        if journal.is_replaying:
            self._replaying.enter_context(self.board.replaying())
        state.journal = self._life.journal = journal
        state.runtime = Recording(self, journal, run_id=self._life.run.id)

    def _caught_up(self) -> None:
        self._replaying.close()
        if self._life.attempt is not None:
            self._life.attempt.caught_up()

    def _crash(self) -> None:
        """End the process of the run, as far as that can be done in the process of the bench."""
        self._life.has_crashed = True
        if self._life.attempt is not None:
            self._life.attempt.evict()

    def busy(self) -> contextlib.AbstractContextManager[None]:
        """Hold off a suspension."""
        return self.board.busy()

    async def keep(self, packet: packets.Packet) -> packets.Packet:
        """A bench keeps everything as it is."""
        return packet

    async def load(self, packet: packets.Packet) -> packets.Packet:
        """Never asked for: nothing is kept elsewhere."""
        return packet

    async def trigger(self, task: str, payload: Any, options: TriggerOptions) -> RunHandle:
        """Start a child."""
        given = BatchItem(task=task, payload=payload, options=options)
        child, is_cached = await self._engine.trigger(given, self._life.run)
        return RunHandle(id=child.id, is_cached=is_cached, waitpoint_id=child.id)

    async def batch_trigger(
        self, items: Sequence[BatchItem], options: TriggerOptions
    ) -> BatchHandle:
        """Start children."""
        children = [(await self._engine.trigger(given, self._life.run))[0] for given in items]
        batch = f"batch_{len(self._engine.batches) + 1}"
        self._engine.batches[batch] = children
        return BatchHandle(id=batch, run_count=len(children))

    async def wait_for_run(self, handle: RunHandle) -> WaitpointResult:
        """Suspend until the child has ended."""
        return await self.board.wait(handle.id)

    async def wait_for_batch(self, handle: BatchHandle) -> list[RunResult]:
        """Suspend until all children have ended."""
        children = self._engine.batches[handle.id]
        await asyncio.gather(*(self.board.wait(child.id) for child in children))
        return [
            RunResult(
                ok=child.status == "COMPLETED",
                id=child.id,
                output=child.output,
                error=child.error,
                task=child.task,
            )
            for child in children
        ]

    def now(self) -> datetime:
        """By the bench's clock."""
        return self._engine.clock()

    async def wait_until(self, moment: datetime, *, key: str | None) -> None:
        """Suspend until a moment; one that is over does not suspend."""
        if key is None and moment <= self.now():
            return
        waitpoint = new_waitpoint_id() if key is None else waitpoint_id_of(self._life.run.id, key)
        await self.board.wait(waitpoint, due_ms=milliseconds(moment))

    async def rest_until(self, moment: datetime, *, key: str) -> None:
        """Suspend until a moment, in the middle of a step."""
        if moment > self.now():
            with self.board.resting():
                await self.wait_until(moment, key=key)

    async def wait_for_token(self, token: str) -> WaitpointResult:
        """Suspend until a token is over."""
        await self.tokens.retrieve(token)  # raises for one that there is not
        return await self.board.wait(token)

    async def wait_for_input(self, key: str, *, until: datetime | None) -> WaitpointResult:
        """Suspend until the next item has been sent, or until a moment."""
        return await self.board.wait_for_input(key, due_ms=milliseconds(until))

    def has_taken(self, key: str, seq: int) -> None:
        """Know that an item was taken."""
        self.board.mark_taken(key, seq)

    def put_back(self, item: WaitpointResult) -> None:
        """Take an item back."""
        self.board.put_back(item)

    @property
    def tokens(self) -> BenchTokens:
        """Those of the bench."""
        return self._engine.tokens

    async def change_metadata(self, target: str, operations: list[dict[str, Any]]) -> None:
        """Change the metadata of an ancestor; the run's own is changed already."""
        run = self._life.run
        if target != "self":
            ancestor = _root(run) if target == "root" else run.parent or run
            for operation in operations:
                apply_metadata(ancestor.metadata, operation)

    async def add_tags(self, tags: list[str]) -> None:
        """Add tags."""
        run = self._life.run
        together = list(dict.fromkeys([*run.tags, *tags]))
        check_tags(tuple(together[: MAX_TAGS + 1]))
        run.tags[:] = together

    def emit(self, record: dict[str, Any]) -> None:
        """Keep a log line."""
        if record["kind"] == "log":
            self._life.run.logs.append(record)

    async def finish(self) -> None:
        """Apply what is left of changes to ancestors' metadata, and stop watching."""
        for target in list(self.metadata.pending):
            await self.change_metadata(target, self.metadata.take(target))
        if self._keeper is not None:
            self._keeper.keep()
        self.board.cancel()
        if self._watch is not None:
            self._watch.cancel()

    async def _suspend(self, suspension: Suspension) -> None:
        attempt = self._life.attempt
        if attempt is None:
            return
        state = attempt.state
        await run_hooks_safely(state.task.hooks, "on_wait", ctx=state.context)
        attempt.suspended()
        self._life.run.status = "WAITING"
        if self._keeper is not None:
            self._keeper.keep()
            if self._engine.evicts and not self._life.has_crashed:
                self._life.suspension = suspension
                attempt.evict()
            if attempt.is_evicted:
                return
        if self._watch is not None:
            self._watch.cancel()
        self._watch = asyncio.get_running_loop().create_task(self._watched(suspension))

    async def _watched(self, suspension: Suspension) -> None:
        """Resume when the first of what is waited for is over, with all that is."""
        results = await self._engine.first_over(self._life.run, suspension)
        self._watch = None
        await self.board.resumed(results)

    async def _resumed(self) -> None:
        attempt = self._life.attempt
        if attempt is not None:
            attempt.resumed()
            self._life.run.status = "EXECUTING"
            state = attempt.state
            await run_hooks_safely(state.task.hooks, "on_resume", ctx=state.context)


def _crashed(life: Life, task: Task[Any, Any], number: int, most: int) -> AttemptResult:
    """What the worker says of a process that is gone."""
    life.has_crashed = False
    crash = Crashed("the process was ended on purpose")
    policy = replace(task.retry or registry.default_retry, retry_on=(Crashed,), rule=None)
    return AttemptResult(
        ending="crashed",
        error=internal_error("TASK_RUN_CRASHED", str(crash)),
        retry_delay=policy.decide(crash, attempt=number, max_attempts=most),
        executed=life.executed,
    )


def _root(run: BenchRun) -> BenchRun:
    while run.parent is not None:
        run = run.parent
    return run
