"""Calls that arrive while others are being answered are answered together.

Nothing waits on purpose: a call on an idle process is answered at once and alone, and the busier
the process is, the larger the groups become.
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

    async def answer(self, call: Call) -> Answer:
        """The answer to this call, given by the thread that took it."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((call, future))
        self._start()
        return await future

    def _start(self) -> None:
        if not self._waiting or self._under_way == _GROUPS:
            return
        group = [self._waiting.popleft() for _ in range(min(_LARGEST, len(self._waiting)))]
        self._under_way += 1
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
        self._start()
