"""Calls that arrive while others are being answered are answered together.

A call on an idle process is answered at once and alone. Where calls came in a crowd a moment ago,
the next ones wait for each other, for two milliseconds at most: a group costs not much more than a
call, so that groups of one amid a crowd would take most of the time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

Call = TypeVar("Call")
Answer = TypeVar("Answer")

_GROUPS = 2  # one is prepared while the other is committed
_LARGEST = 100
_ENOUGH = 8  # calls that are worth a group of their own beside another, and are not waited beyond
_CROWD = 4  # a group of so many lets the next one expect as many
_PATIENCE_SECONDS = 0.002


class Gathering(Generic[Call, Answer]):
    """Hands calls in groups to `answer_all`, on threads of its own.

    `answer_all` gives one answer for each call, in order; what it raises fails the whole group.
    """

    def __init__(
        self, answer_all: Callable[[Sequence[Call]], Sequence[Answer]], *, name: str
    ) -> None:
        self._answer_all = answer_all
        self._threads = ThreadPoolExecutor(_GROUPS, name)
        self._waiting: deque[tuple[Call, asyncio.Future[Answer]]] = deque()
        self._under_way = 0
        self._expected = 1
        self._patience: asyncio.TimerHandle | None = None

    def answer(self, call: Call) -> asyncio.Future[Answer]:
        """The answer to this call, given by the thread that took it."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((call, future))
        self._look()
        return future

    def _look(self) -> None:
        """Start a group if enough have come; the last that is under way looks again."""
        waiting = len(self._waiting)
        if not waiting or self._under_way == _GROUPS:
            return
        if waiting >= (_ENOUGH if self._under_way else self._expected):
            self._start()
        elif not self._under_way and self._patience is None:
            loop = asyncio.get_running_loop()
            self._patience = loop.call_later(_PATIENCE_SECONDS, self._wait_no_longer)

    def _wait_no_longer(self) -> None:
        self._patience = None
        if self._waiting and not self._under_way:
            self._start()

    def _start(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        group = [self._waiting.popleft() for _ in range(min(_LARGEST, len(self._waiting)))]
        self._under_way += 1
        self._expected = min(len(group), _ENOUGH) if len(group) >= _CROWD else 1
        loop = asyncio.get_running_loop()
        answers = loop.run_in_executor(self._threads, self._answer_all, [call for call, _ in group])
        answers.add_done_callback(lambda done: self._end(group, done))

    def _end(
        self,
        group: Sequence[tuple[Call, asyncio.Future[Answer]]],
        done: asyncio.Future[Sequence[Answer]],
    ) -> None:
        self._under_way -= 1
        error = done.exception()
        for place, (_, future) in enumerate(group):
            if future.done():
                continue  # its caller has gone
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(done.result()[place])
        self._look()
