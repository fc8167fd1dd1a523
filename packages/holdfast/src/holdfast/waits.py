"""Waiting for runs, batches, tokens, times and inputs, with one suspension for them all.

A run is suspended only when it has nothing else under way with the server: coroutines gathered
together trigger their children first and then wait as one. What begins to wait while the run is
suspended already is added to what the server watches; and who gives up waiting then, as by a
timeout, goes on only when the run has its slot again.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, overload

from holdfast.errors import RunCanceled
from holdfast.ids import new_waitpoint_id, waitpoint_id_of
from holdfast.inputs import InputLine
from holdfast.journal import when_idle
from holdfast.protocol import Expected, Timed, WaitpointResult

SETTLE_SECONDS = 0.003
"""How long a run is left alone after its latest wait began, before it is suspended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspension:
    """What the server is asked to watch.

    Attributes:
        waitpoints: All of them, by id; the run goes on with the first that completes.
        times: Those of them that are times, which the server does not know yet.
        inputs: Those of them that are items of inputs, which it does not know yet either.
    """

    waitpoints: list[str]
    times: list[Timed]
    inputs: list[Expected] = field(default_factory=list)


@dataclass(slots=True)
class _Awaited:
    """A waitpoint, and how many coroutines wait for it."""

    future: asyncio.Future[WaitpointResult]
    due_ms: int | None
    waiters: int = field(default=0)


Suspend = Callable[[Suspension], Coroutine[Any, Any, None]]
Resume = Callable[[], Coroutine[Any, Any, None]]


class WaitBoard:
    """The waitpoints that one attempt waits for.

    Args:
        run: The run's id, which names the items that it waits for.
        suspend: Told what to watch when the run becomes suspended.
        resume: Called when the run goes on, before anything that waits.
    """

    def __init__(self, *, run: str, suspend: Suspend, resume: Resume) -> None:
        self._run = run
        self._on_suspend = suspend
        self._on_resume = resume
        self._lines: dict[str, InputLine] = {}
        self._is_serving = False
        self._replays = 0
        self._awaited: dict[str, _Awaited] = {}
        self._early: dict[str, WaitpointResult] = {}
        self._busy = 0
        self._timer: asyncio.TimerHandle | None = None
        self._suspending: asyncio.Task[None] | None = None
        self._canceled = False
        self._watched: set[str] = set()  # what the server was told of the present suspension
        self._recall: tuple[str, asyncio.Future[None]] | None = None
        self.is_suspended = False

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Hold off a suspension while a call to the server is under way."""
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1
            self._arm()

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Let the run be suspended in what is otherwise `busy`."""
        self._busy -= 1
        try:
            yield
        finally:
            self._busy += 1

    @contextmanager
    def replaying(self) -> Iterator[None]:
        """Hold off a suspension, and all items, until the code has been given what it took before.

        Until then an item may be one of those.
        """
        self._replays += 1
        with self.busy():
            yield
        self._replays -= 1
        self._serve_soon()

    async def wait(self, waitpoint: str, *, due_ms: int | None = None) -> WaitpointResult:
        """Wait for one waitpoint.

        Args:
            waitpoint: Its id.
            due_ms: For a time: the moment in milliseconds since 1970.

        Raises:
            RunCanceled: The run was canceled.
        """
        if waitpoint in self._early:
            return self._early.pop(waitpoint)
        if self._canceled:
            raise RunCanceled("the run was canceled")
        awaited = self._awaited.get(waitpoint)
        if awaited is None:
            future = asyncio.get_running_loop().create_future()
            awaited = self._awaited[waitpoint] = _Awaited(future, due_ms)
        awaited.waiters += 1
        self._arm()
        try:
            return await asyncio.shield(awaited.future)
        except asyncio.CancelledError:
            if self.is_suspended and not self._canceled:
                await self._recalled()
            raise
        finally:
            awaited.waiters -= 1
            if not awaited.waiters and self._awaited.get(waitpoint) is awaited:
                del self._awaited[waitpoint]

    async def wait_for_input(self, key: str, *, due_ms: int | None = None) -> WaitpointResult:
        """Wait for the next item of an input.

        Args:
            key: The input's name.
            due_ms: When to give up, in milliseconds since 1970.

        Raises:
            RunCanceled: The run was canceled.
        """
        if self._canceled:
            raise RunCanceled("the run was canceled")
        line = self._line(key)
        waiter = line.join(due_ms)
        self._serve_soon()
        try:
            return await asyncio.shield(waiter.future)
        except asyncio.CancelledError:
            line.leave(waiter)
            self._serve_soon()
            if self.is_suspended and not self._canceled:
                await self._recalled()
            raise

    def mark_taken(self, key: str, seq: int) -> None:
        """Know that the code was given an item when it was executed before."""
        self._line(key).mark_taken(seq)
        self._serve_soon()

    def _line(self, key: str) -> InputLine:
        if key not in self._lines:
            self._lines[key] = InputLine(key, name=lambda name: waitpoint_id_of(self._run, name))
        return self._lines[key]

    def put_back(self, item: WaitpointResult) -> None:
        """Take back an item that the code has not got in the end."""
        if item.key is not None:
            self._line(item.key).put_back(item)
            self._serve_soon()

    def knows(self, results: Sequence[WaitpointResult]) -> None:
        """Take what completed before anything here has begun to wait for it."""
        for result in results:
            if result.key is None:
                self._early[result.id] = result
            else:
                self._line(result.key).take(result)

    async def resumed(self, results: Sequence[WaitpointResult]) -> None:
        """Go on with what the server says has completed."""
        self.is_suspended = False
        self._watched.clear()
        await self._on_resume()
        if self._recall is not None:
            _, going_on = self._recall
            self._recall = None
            going_on.set_result(None)
        for result in results:
            awaited = self._awaited.pop(result.id, None)
            if awaited is None:
                self.knows([result])
            elif not awaited.future.done():
                awaited.future.set_result(result)
        self._serve_soon()

    def cancel(self) -> None:
        """Make everything that waits, and will wait, raise RunCanceled."""
        self._canceled = True
        if self._timer is not None:
            self._timer.cancel()
        if self._recall is not None:
            self._recall[1].cancel()
        for awaited in self._awaited.values():
            if not awaited.future.done():
                awaited.future.set_exception(RunCanceled("the run was canceled"))
                awaited.future.exception()  # nobody may be left to look at it
        self._awaited.clear()
        for line in self._lines.values():
            line.cancel(RunCanceled("the run was canceled"))

    def _serve_soon(self) -> None:
        """Give out what has come when the code is at rest, one item at a time.

        Who waits for the first of several has given up the others by then.
        """
        if not self._lines:
            self._arm()
        elif not self._is_serving:
            self._is_serving = True
            when_idle(asyncio.get_running_loop(), self._serve)

    def _serve(self) -> None:
        self._is_serving = False
        may_serve = not self._canceled and not self._replays
        if may_serve and any(line.serve() for line in self._lines.values()):
            self._serve_soon()
        self._arm()

    async def _recalled(self) -> None:
        """Until the run has its slot again: a time that has come is added to what it waits for."""
        if self._recall is None:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._recall = (new_waitpoint_id(), future)
            self._arm()
        await asyncio.shield(self._recall[1])

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        is_held = self._busy or self._is_serving or self._canceled
        if is_held or self._wanted() <= self._watched:
            return
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(SETTLE_SECONDS, self._start_suspending)

    def _wanted(self) -> set[str]:
        recall = {self._recall[0]} if self._recall is not None else set()
        return self._awaited.keys() | {each.id for each in self._expected()} | recall

    def _expected(self) -> list[Expected]:
        return [each for line in self._lines.values() for each in line.expected()]

    def _start_suspending(self) -> None:
        self._timer = None
        if self._busy or self._is_serving or not self._wanted():
            return  # begun, or given up, since the timer was set
        self.is_suspended = True
        self._watched = self._wanted()
        times = [
            Timed(id=waitpoint, due_ms=awaited.due_ms)
            for waitpoint, awaited in self._awaited.items()
            if awaited.due_ms is not None
        ]
        if self._recall is not None:
            times.append(Timed(id=self._recall[0], due_ms=0))
        suspension = Suspension(
            waitpoints=sorted(self._watched), times=times, inputs=self._expected()
        )
        self._suspending = asyncio.get_running_loop().create_task(self._on_suspend(suspension))


@overload
def milliseconds(moment: datetime) -> int: ...
@overload
def milliseconds(moment: datetime | None) -> int | None: ...
def milliseconds(moment: datetime | None) -> int | None:
    """A moment as the protocol has it, since 1970; never earlier than it was meant."""
    return None if moment is None else math.ceil(moment.timestamp() * 1000)
