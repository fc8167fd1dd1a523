"""What code of a durable task calls to have something recorded: steps, moments, chance, patches.

    @task(durable=True)
    async def order(order: Order) -> str:
        payment = await step(charge, order.card, order.total)
        await wait.for_(days=3)
        return await step(ship, order.id, payment)

Outside of durable tasks, and inside of steps, all of it works without being recorded.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import random as chance
import uuid as uuids
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict, TypeVar, Unpack, cast, overload

from holdfast import failures, packets
from holdfast.context import current_run
from holdfast.errors import StepTimedOut
from holdfast.hooks import in_thread
from holdfast.journal import Call, Journal, branch, digest
from holdfast.recording import Attempts, record
from holdfast.retry import Retry
from holdfast.runtime import RunState
from holdfast.transactions import Database, Ledger
from holdfast.triggering import call_sync

T = TypeVar("T")
Item = TypeVar("Item")

LONG_PAUSE_SECONDS = 5.0
"""Between two tries of a step, a durable run gives its slot and its process back for longer."""

__all__ = ["Database", "StepOptions", "now", "patched", "random", "step", "step_sync", "uuid"]


class StepOptions(TypedDict, total=False):
    """How a step is executed; all may be left out.

    Attributes:
        name: What the journal calls it; default: the function's name.
        retry: How often it is tried: a `Retry`, a number of tries or a mapping. Default: once,
            and the run's own retry policy begins again with this step. Between two tries a durable
            run holds its slot for 5 seconds at most: in a longer pause it is ``WAITING``.
        timeout: Seconds that one try may take. A plain function is not stopped by it, only no
            longer waited for.
        strict: Whether it starts only when everything before it is kept by the server. Otherwise
            what came just before may be repeated after a crash although this step has begun.
        transaction: A PostgreSQL database of your own, in whose transaction the step and the
            record of it are committed together: exactly once. The function gets the connection as
            its first argument. True takes the address from ``HOLDFAST_STEPS_DATABASE_URL``. Such a
            step is always strict.
    """

    name: str | None
    retry: Retry | int | dict[str, Any] | None
    timeout: float | None
    strict: bool
    transaction: bool | Database


class _Step:
    """``step``: call a function once, and remember what came of it."""

    @overload
    def __call__(
        self,
        function: Callable[..., Awaitable[T]],
        *arguments: Any,
        **options: Unpack[StepOptions],
    ) -> Coroutine[Any, Any, T]: ...
    @overload
    def __call__(
        self, function: Callable[..., T], *arguments: Any, **options: Unpack[StepOptions]
    ) -> Coroutine[Any, Any, T]: ...
    def __call__(
        self, function: Callable[..., Any], *arguments: Any, **options: Unpack[StepOptions]
    ) -> Coroutine[Any, Any, Any]:
        """Call a function as a step of a durable run.

        It is executed until its end has been recorded, and never again: whenever the run is
        executed again, after a crash or a wait, the result comes from the journal. Its place is
        taken when this is called, not when it is awaited.

        Args:
            function: An async function, or a plain one, which is called in a thread.
            *arguments: Its arguments; use a lambda or `functools.partial` for named ones.
            **options: See `StepOptions`.

        Returns:
            A coroutine for what the function returns, as it is after encoding and decoding.

        Raises:
            NonDeterminismError: The journal has something else at this place.
            StepTimedOut: The last try took too long.
            StepFailed: The function raised what cannot be made again from a journal; otherwise
                what it raised is raised.
        """
        made = _prepared(function, arguments, options)
        found = _journal()
        if found is None:
            return made.plain()
        call = found[1].call("step", made.name, digest=digest(arguments))
        return made.recorded(*found, call)

    async def map(
        self,
        function: Callable[[Item], Awaitable[T]] | Callable[[Item], T],
        items: Iterable[Item],
        *,
        concurrency: int = 10,
        **options: Unpack[StepOptions],
    ) -> list[T]:
        """Call a function as one step per item.

        All items are executed, also when one fails; then the first failure, in the order of the
        items, is raised.

        Args:
            function: A function of one item.
            items: The items.
            concurrency: How many are executed at once.
            **options: See `StepOptions`; the same for every item.

        Returns:
            The results in the order of the items.

        Raises:
            ValueError: `concurrency` is less than 1.
        """
        if concurrency < 1:
            raise ValueError("step.map: concurrency must be at least 1")
        places = asyncio.Semaphore(concurrency)

        async def placed(one: Coroutine[Any, Any, Any]) -> Any:
            async with places:
                return await one

        steps: list[Coroutine[Any, Any, Any]] = [self(function, item, **options) for item in items]
        results = await asyncio.gather(*map(placed, steps), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return cast("list[T]", results)


step = _Step()


def step_sync(function: Callable[..., T], *arguments: Any, **options: Unpack[StepOptions]) -> T:
    """`step` for plain tasks."""

    async def begun() -> T:
        return await step(function, *arguments, **options)

    return call_sync(begun())


def now() -> datetime:
    """What time it is, in UTC; in a durable run what time it was when this was first called."""
    found = _journal()
    if found is None:
        return datetime.now(UTC)
    moment: datetime = _noted(found[1], "now", lambda _: found[0].runtime.now())
    return moment


def random() -> float:
    """A random number from 0 to 1, without 1; in a durable run always the same at this place."""
    found = _journal()
    if found is None:
        return chance.random()  # noqa: S311 - not a secret
    journal = found[1]
    number: float = _noted(
        journal,
        "random",
        lambda call: chance.Random(journal.draw(call.position, of="random")).random(),  # noqa: S311
    )
    return number


def uuid() -> uuids.UUID:
    """A random UUID; in a durable run always the same at this place.

    It is drawn from the run and the place, so it does not change even when a crash comes before
    its record: a good idempotency key for what is outside of Holdfast.
    """
    found = _journal()
    if found is None:
        return uuids.uuid4()
    journal = found[1]
    made: uuids.UUID = _noted(
        journal,
        "uuid",
        lambda call: uuids.UUID(bytes=journal.draw(call.position, of="uuid")[:16], version=4),
    )
    return made


def patched(name: str) -> bool:
    """Whether to go the new way in code that has changed since some runs have begun.

        if patched("check-stock"):
            await step(check_stock, order)

    True in new runs, and in older ones that had not come here yet; False in those whose journal
    has gone past this place without. The answer is recorded, and the same wherever the name is
    asked for in one run.

    Args:
        name: A name for the change, never used for another one.
    """
    found = _journal()
    return found is None or found[1].patched(name)


def _journal() -> tuple[RunState, Journal] | None:
    """The run and its journal, where the calling code is journaled."""
    state = current_run.get(None)
    if state is None or state.journal is None or branch.get() is None:
        return None
    return state, state.journal


def _noted(journal: Journal, kind: str, make: Callable[[Call], Any]) -> Any:
    call = journal.call(kind, kind)
    value = None if call.recorded is not None else make(call)
    entry = journal.note(call, packets.encode(value))
    return packets.decode(entry.output, entry.output_type)


async def _hold(seconds: float, _tries: int, _error: Exception) -> None:
    """Pause between two tries, in place."""
    await asyncio.sleep(seconds)


class _Pauses:
    """The long pauses between the tries of a recorded step, in which its run is suspended.

    How often it was tried, and until when it pauses, is recorded: the run may go on elsewhere.
    """

    def __init__(self, state: RunState, journal: Journal, call: Call) -> None:
        self._runtime = state.runtime
        self._journal = journal
        self._call = call
        self._count = 0
        self._until: datetime | None = None
        self.tries = 0
        while (found := journal.remark(call, self._count + 1, "retry")) is not None:
            self._count += 1
            self._until, self.tries = found["until"], found["tries"]

    async def go_on(self) -> None:
        """Pause until what was recorded last."""
        if self._until is not None:
            await self._rest(self._until)

    async def pause(self, seconds: float, tries: int, error: Exception) -> None:
        """Pause after a try, suspended if that takes long."""
        if seconds <= LONG_PAUSE_SECONDS:
            await asyncio.sleep(seconds)
            return
        until = self._runtime.now() + timedelta(seconds=seconds)
        self._count += 1
        noted = {"until": until, "tries": tries, "error": failures.to_wire(error)}
        self._journal.remark(self._call, self._count, "retry", packets.encode(noted))
        await self._rest(until)

    async def _rest(self, until: datetime) -> None:
        key = f"{self._call.position}/{until.isoformat()}"
        await self._runtime.rest_until(until, key=key)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    """A step that is about to be executed, in whichever way."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    name: str
    retry: Retry
    timeout: float | None
    strict: bool
    database: Database | None

    async def plain(self) -> Any:
        """Execute it, without a journal."""
        attempts = Attempts()
        if self.database is None:
            return await self._tried(self._once, attempts)
        ledger = Ledger(self.database)
        function, is_async = self._with(self.arguments), _is_async(self.function)
        return await self._tried(ledger.unrecorded(function, is_async=is_async), attempts)

    async def recorded(self, state: RunState, journal: Journal, call: Call) -> Any:
        """Execute it, or know what came of it."""
        pauses = _Pauses(state, journal, call)
        attempts = Attempts(pauses.tries)
        try_it: Callable[[], Awaitable[Any]] = self._once
        if self.database is not None:
            try_it = Ledger(self.database).recorded(
                self._with(self.arguments),
                state.context.run.id,
                call,
                is_async=_is_async(self.function),
            )

        async def execute() -> Any:
            if self.strict or self.database is not None:
                await journal.committed()
            await pauses.go_on()
            return await self._tried(try_it, attempts, pauses.pause)

        return await record(state.runtime, journal, call, execute, attempts=attempts)

    async def _tried(
        self,
        try_it: Callable[[], Awaitable[Any]],
        attempts: Attempts,
        pause: Callable[[float, int, Exception], Awaitable[None]] = _hold,
    ) -> Any:
        while True:
            attempts.made += 1
            try:
                async with asyncio.timeout(self.timeout) as limit:
                    return await try_it()
            except Exception as error:
                if isinstance(error, TimeoutError) and limit.expired():
                    error = StepTimedOut(f"{self.name} took longer than {self.timeout:g} s")
                delay = self.retry.decide(
                    error, attempt=attempts.made, max_attempts=self.retry.attempts
                )
                if delay is None:
                    raise error from error.__cause__
                failure = error
            await pause(delay, attempts.made, failure)

    async def _once(self) -> Any:
        call = functools.partial(self.function, *self.arguments)
        if _is_async(self.function):
            return await call()
        result = await in_thread(call)
        return await result if inspect.isawaitable(result) else result

    def _with(self, arguments: tuple[Any, ...]) -> Callable[[Any], Any]:
        """The function of a connection alone."""
        return lambda connection: self.function(connection, *arguments)


def _prepared(
    function: Callable[..., Any], arguments: tuple[Any, ...], options: StepOptions
) -> _Prepared:
    given = options.get("transaction", False)
    database = Database.of(given) if given else None
    retry = options.get("retry")
    return _Prepared(
        function=function,
        arguments=arguments,
        name=options.get("name") or _name(function),
        retry=Retry.of(1 if retry is None else retry),
        timeout=options.get("timeout"),
        strict=options.get("strict", False),
        database=database,
    )


def _name(function: Callable[..., Any]) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    return str(getattr(function, "__name__", type(function).__name__))


def _is_async(function: Callable[..., Any]) -> bool:
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 -- an object with an async __call__
    )
