"""An event loop whose time jumps: nothing waits for an hour to pass in a test."""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable
from typing import Any

from holdfast.errors import HoldfastError


class Stuck(HoldfastError):
    """Everything waits for something that will never happen."""


class SkippingLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer when nothing else is under way.

    Args:
        are_threads_at_work: Whether threads do something that takes real time.
    """

    def __init__(self, are_threads_at_work: Callable[[], bool]) -> None:
        self.shown = 0.0
        self.threads = 0
        self._are_threads_at_work = are_threads_at_work
        super().__init__(SkippingSelector(self))
        self.quiet_files = len(self._selector.get_map())  # type: ignore[attr-defined]

    def time(self) -> float:
        """Seconds on the bench's clock."""
        return self.shown

    def is_world_at_work(self) -> bool:
        """Whether something real is to be waited for: a thread, or a file other than our own."""
        files = len(self._selector.get_map())  # type: ignore[attr-defined]
        return files > self.quiet_files or self._are_threads_at_work()

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Count the threads that are at work."""
        future = super().run_in_executor(executor, func, *args)
        self.threads += 1
        future.add_done_callback(self._thread_ended)
        return future

    def _thread_ended(self, _: Any) -> None:
        self.threads -= 1


class SkippingSelector(selectors.DefaultSelector):
    """A selector that does not wait for time to pass when time can be made to."""

    _STEP = 0.01

    def __init__(self, loop: SkippingLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        events = super().select(0)
        if events or timeout == 0:
            return events
        if self._loop.is_world_at_work():
            began = time.monotonic()
            events = super().select(self._STEP if timeout is None else min(timeout, self._STEP))
            self._loop.shown += time.monotonic() - began
            return events
        if timeout is None:
            raise Stuck("the run waits for something that will never happen")
        self._loop.shown += timeout
        return events
