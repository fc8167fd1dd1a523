"""Waiting for runs, batches, tokens and times, several at once, with one suspension for them all.

A run is suspended only when it has nothing else under way with the server: coroutines gathered
together trigger their children first and then wait as one. What begins to wait while the run is
suspended already is added to what the server watches; and who gives up waiting then, as by a
timeout, goes on only when the run has its slot again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from holdfast.errors import RunCanceled
from holdfast.ids import new_waitpoint_id
from holdfast.protocol import Timed, WaitpointResult

SETTLE_SECONDS = 0.003
"""How long a run is left alone after its latest wait began, before it is suspended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspension:
    """What the server is asked to watch.

    Attributes:
        waitpoints: All of them, by id; the run goes on with the first that completes.
        times: Those of them that are times, which the server does not know yet.
    """

    waitpoints: list[str]
    times: list[Timed]


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
        suspend: Told what to watch when the run becomes suspended.
        resume: Called when the run goes on, before anything that waits.
    """

    def __init__(self, *, suspend: Suspend, resume: Resume) -> None:
        self._on_suspend = suspend
        self._on_resume = resume
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

    def knows(self, results: Sequence[WaitpointResult]) -> None:
        """Take what completed before anything here has begun to wait for it."""
        self._early.update((result.id, result) for result in results)

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
                self._early[result.id] = result
            elif not awaited.future.done():
                awaited.future.set_result(result)
        self._arm()

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
        if self._wanted() <= self._watched or self._busy or self._canceled:
            return
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(SETTLE_SECONDS, self._start_suspending)

    def _wanted(self) -> set[str]:
        recall = {self._recall[0]} if self._recall is not None else set()
        return self._awaited.keys() | recall

    def _start_suspending(self) -> None:
        self._timer = None
        if self._busy or not self._wanted():  # begun, or given up, since the timer was set
            return
        self.is_suspended = True
        self._watched = self._wanted()
        times = [
            Timed(id=waitpoint, due_ms=awaited.due_ms)
            for waitpoint, awaited in self._awaited.items()
            if awaited.due_ms is not None
        ]
        if self._recall is not None:
            times.append(Timed(id=self._recall[0], due_ms=0))
        suspension = Suspension(waitpoints=sorted(self._watched), times=times)
        self._suspending = asyncio.get_running_loop().create_task(self._on_suspend(suspension))
