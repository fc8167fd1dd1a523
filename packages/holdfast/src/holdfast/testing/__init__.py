"""Run tasks in memory, with a clock that can be turned and without any server.

    from holdfast.testing import Bench

    with Bench() as bench:
        run = bench.run(charge, {"order": 7})
        assert run.status == "COMPLETED"
        assert len(run.attempts) == 2

Tasks execute by the rules of a task process: payload validation, hooks, middleware, retries,
children, waits, tokens, inputs, metadata, cancellation, `max_duration`. Time jumps: a retry in an
hour, a delay of a day, ``wait.for_(days=1)`` and ``asyncio.sleep(600)`` take no time, while
`Bench.now` moves on. Plain functions run in real threads, and `time.sleep` in them takes as long as
it says. Queues have no limits here.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from holdfast.client.tokens import Token, TokenHandle, TokenOptions
from holdfast.durations import length_of
from holdfast.journal import ignore_evictions, make_task
from holdfast.tasks import Registry, Task, registry
from holdfast.testing.clock import SkippingLoop, Stuck
from holdfast.testing.crashes import Crash
from holdfast.testing.engine import GRACE_SECONDS, Engine
from holdfast.testing.history import History
from holdfast.testing.runs import BenchAttempt, BenchRun
from holdfast.triggering import Options, item

__all__ = [
    "GRACE_SECONDS",
    "Bench",
    "BenchAttempt",
    "BenchRun",
    "Crash",
    "History",
    "Stuck",
    "every_crash",
    "replay",
]

T = TypeVar("T")

_THREADS = 32
_START = datetime(2026, 1, 1, tzinfo=UTC)


class Bench:
    """Runs tasks in memory.

    Args:
        tasks: Where to look tasks up; by default all that were defined in this process.
        start: What the clock shows first.
        environment: The type of environment that tasks see.
        evicts: Whether durable runs leave their process whenever they wait, as they may in
            production: their code is executed again with what was recorded.
        crash: Where to end the process of a durable run, once; see `every_crash`.
        history: Only read this history, for `replay`: nothing that it has not is done.
    """

    def __init__(
        self,
        *,
        tasks: Registry | None = None,
        start: datetime = _START,
        environment: str = "DEVELOPMENT",
        evicts: bool = True,
        crash: Crash | None = None,
        history: History | None = None,
    ) -> None:
        self._loop = SkippingLoop(self._are_threads_at_work)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="bench")
        self._loop.set_default_executor(self._threads)
        self._loop.set_task_factory(make_task)
        self._loop.set_exception_handler(ignore_evictions)
        self._start = start
        self._engine = Engine(
            tasks=registry if tasks is None else tasks,
            environment=environment,
            clock=lambda: self.now,
            crash=crash,
            evicts=evicts,
            history=history,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def runs(self) -> list[BenchRun]:
        """All runs, in the order of their creation."""
        return self._engine.runs

    @property
    def commits(self) -> int:
        """How many entries its durable runs have recorded; a `Crash` names one of them."""
        return self._engine.crashes.points

    @property
    def now(self) -> datetime:
        """What the clock shows."""
        return self._start + timedelta(seconds=self._loop.time())

    def run(
        self, task: Task[Any, Any] | str, payload: Any = None, **options: Unpack[Options]
    ) -> BenchRun:
        """Trigger a run and let time pass until it has ended.

        Args:
            task: The task, or its id.
            payload: The payload.
            **options: As of `Task.trigger`.

        Raises:
            Stuck: It waits for something that will never happen.
            LookupError: There is no such task.
        """
        run = self.trigger(task, payload, **options)
        if run.status == "PENDING_VERSION":
            raise LookupError(f"there is no task {run.task!r} in this process")
        self._drive(self._engine.end_of(run))
        return run

    def trigger(
        self, task: Task[Any, Any] | str, payload: Any = None, **options: Unpack[Options]
    ) -> BenchRun:
        """Trigger a run; it starts when time passes next: in `run`, `advance` or `settle`."""
        name = task if isinstance(task, str) else task.id
        made = item(name, payload, **options)
        return self._drive(self._engine.trigger(made))[0]

    def advance(self, by: float | timedelta) -> None:
        """Let time pass: seconds or a `timedelta`; everything due in it happens."""
        seconds = by.total_seconds() if isinstance(by, timedelta) else by
        self._drive(asyncio.sleep(seconds))

    def settle(self) -> None:
        """Let time pass until every run has ended.

        Raises:
            Stuck: Some run waits for something that will never happen.
        """
        self._drive(self._engine.settle())

    def cancel(self, run: BenchRun, *, reason: str = "") -> None:
        """Cancel a run and its children; an executing one may take `GRACE_SECONDS` to stop."""
        self._drive(self._engine.cancel(run, reason))

    @property
    def tokens(self) -> list[Token]:
        """All tokens that were made, in the order of their creation."""
        return self._engine.tokens.all()

    def create_token(self, **options: Unpack[TokenOptions]) -> TokenHandle:
        """Make a token outside of any run, to be handed to one."""
        return self._drive(self._engine.tokens.create(**options))

    def complete_token(self, token: Token | TokenHandle | str, data: Any = None) -> None:
        """Complete a token, as somebody outside would; who waits goes on when time passes next.

        Raises:
            LookupError: There is no such token.
        """
        identifier = token if isinstance(token, str) else token.id
        self._drive(self._engine.tokens.complete(identifier, data))

    def answer_tokens(
        self, answer: Callable[[Token], Any], *, after: float | timedelta = 0
    ) -> None:
        """Complete every token that is made from now on.

        Args:
            answer: Gives the value for a token.
            after: How long after its creation, by the bench's clock.
        """
        self._engine.tokens.answer_with(answer, length_of(after).total_seconds())

    def send_input(self, run: BenchRun, key: str, data: Any = None) -> None:
        """Send an item to an input of a run; it goes on, if it waits for it, when time passes next.

        Raises:
            ValueError: The run has ended.
        """
        if run.is_final:
            raise ValueError(f"{run.id} has ended: it takes no input")
        self._drive(self._engine.send(run, key, data))

    def answer_inputs(
        self, answer: Callable[[BenchRun, str], Any], *, after: float | timedelta = 0
    ) -> None:
        """Send an item for each that a run waits for from now on.

        Args:
            answer: Gives the item for a run and the name of its input.
            after: How long after the run began to wait, by the bench's clock.
        """
        self._engine.inputs.answer_with(
            lambda run, key: answer(self._engine.life_of(run).run, key),
            length_of(after).total_seconds(),
        )

    def close(self) -> None:
        """Stop what still runs."""
        if not self._loop.is_closed():
            self._drive(self._engine.stop())
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._loop.close()

    # -- time ----------------------------------------------------------------------------------

    def _drive(self, work: Coroutine[Any, Any, T]) -> T:
        """Run work on the bench's loop, from a thread of its own where a loop is running."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self._loop.run_until_complete(work)
        outcome: list[T] = []
        failure: list[BaseException] = []

        def drive() -> None:
            try:
                outcome.append(self._loop.run_until_complete(work))
            except BaseException as error:
                failure.append(error)

        thread = threading.Thread(target=drive)
        thread.start()
        thread.join()
        if failure:
            raise failure[0]
        return outcome[0]

    def _are_threads_at_work(self) -> bool:
        """Whether a thread of a task does something that takes real time."""
        return self._loop.threads > self._engine.blocked_threads()


def every_crash(
    task: Task[Any, Any],
    payload: Any = None,
    *,
    prepare: Callable[[Bench], None] = lambda _: None,
    tasks: Registry | None = None,
) -> Iterator[BenchRun]:
    """Run a durable task once undisturbed, then once for every point where a crash can come.

        for run in every_crash(order, {"id": 7}):
            assert run.output == "shipped"

    There are two crashes per entry of the journal: before it is kept, when what it stands for has
    been done and is done again; and after it is kept, when it is not.

    Args:
        task: The task.
        payload: Its payload.
        prepare: Called with each bench before the run, such as to answer tokens.
        tasks: Where to look tasks up.

    Yields:
        The runs, each when it has ended.
    """
    places: list[Crash | None] = [None]
    while places:
        with Bench(tasks=tasks, crash=places[0]) as bench:
            prepare(bench)
            yield bench.run(task, payload)
            if places.pop(0) is None:
                for point in range(1, bench.commits + 1):
                    places += [Crash(point, "before"), Crash(point, "after")]


def replay(history: History, *, tasks: Registry | None = None) -> None:
    """Execute the code of today with what a run has recorded, and nothing else.

    No step, no wait and no child is executed: where the history ends, the replay does.

    Args:
        history: Of a durable run, finished or not; see `History.load`.
        tasks: Where to look the task up; by default all that were defined in this process.

    Raises:
        NonDeterminismError: The code does something else.
        LookupError: There is no such task any more, or it is not durable.
    """
    where = registry if tasks is None else tasks
    found = where.get(history.task)
    if found is None or not found.durable:
        raise LookupError(f"there is no durable task {history.task!r}")
    with Bench(tasks=where, evicts=False, history=history) as bench:
        run = bench.trigger(found, history.payload())
        with contextlib.suppress(Stuck):
            bench.settle()
        error = bench._engine.difference(run)  # noqa: SLF001 -- of this package
    if error is not None:
        raise error
