"""Waiting for child runs and batches, several at once, with one suspension for all of them.

A run is suspended only when it has nothing else under way with the server: coroutines gathered
together trigger their children first and then wait as one. What begins to wait while the run is
suspended already is added to what the server watches.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from holdfast.errors import RunCanceled
from holdfast.protocol import WaitpointResult

SETTLE_SECONDS = 0.003
"""How long a run is left alone after its latest wait began, before it is suspended."""

Suspend = Callable[[list[str]], Coroutine[Any, Any, None]]
Resume = Callable[[], Coroutine[Any, Any, None]]


class WaitBoard:
    """The waitpoints that one attempt waits for.

    Args:
        suspend: Told the waitpoints when the run becomes suspended.
        resume: Called when the run goes on, before anything that waits.
    """

    def __init__(self, *, suspend: Suspend, resume: Resume) -> None:
        self._on_suspend = suspend
        self._on_resume = resume
        self._pending: dict[str, asyncio.Future[WaitpointResult]] = {}
        self._early: dict[str, WaitpointResult] = {}
        self._busy = 0
        self._timer: asyncio.TimerHandle | None = None
        self._suspending: asyncio.Task[None] | None = None
        self._canceled = False
        self._watched: set[str] = set()  # what the server was told of the present suspension
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

    async def wait(self, waitpoint: str) -> WaitpointResult:
        """Wait for one waitpoint.

        Raises:
            RunCanceled: The run was canceled.
        """
        if waitpoint in self._early:
            return self._early.pop(waitpoint)
        if self._canceled:
            raise RunCanceled("the run was canceled")
        future = self._pending.get(waitpoint)
        if future is None:
            future = self._pending[waitpoint] = asyncio.get_running_loop().create_future()
        self._arm()
        try:
            return await asyncio.shield(future)
        finally:
            if not future.done():
                self._pending.pop(waitpoint, None)

    async def resumed(self, results: Sequence[WaitpointResult]) -> None:
        """Go on with what the server says has completed."""
        self.is_suspended = False
        self._watched.clear()
        await self._on_resume()
        for result in results:
            future = self._pending.pop(result.id, None)
            if future is None:
                self._early[result.id] = result
            elif not future.done():
                future.set_result(result)
        self._arm()

    def cancel(self) -> None:
        """Make everything that waits, and will wait, raise RunCanceled."""
        self._canceled = True
        if self._timer is not None:
            self._timer.cancel()
        for future in self._pending.values():
            if not future.done():
                future.set_exception(RunCanceled("the run was canceled"))
                future.exception()  # nobody may be left to look at it
        self._pending.clear()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        is_news = not self._pending.keys() <= self._watched
        if is_news and not self._busy and not self._canceled:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(SETTLE_SECONDS, self._start_suspending)

    def _start_suspending(self) -> None:
        self._timer = None
        self.is_suspended = True
        self._watched = set(self._pending)
        self._suspending = asyncio.get_running_loop().create_task(
            self._on_suspend(list(self._pending))
        )
