"""What is sent to the runs of a bench, by its clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

from holdfast import packets
from holdfast.protocol import Expected, WaitpointResult

Answer = Callable[[str, str], Any]


class BenchInputs:
    """The inputs of all runs of a bench.

    Args:
        clock: What time it is.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._items: dict[tuple[str, str], list[packets.Packet]] = {}
        self._news = asyncio.Event()
        self._answer: tuple[Answer, float] | None = None
        self._answered: set[tuple[str, str, int]] = set()

    def answer_with(self, answer: Answer, after: float) -> None:
        """Send something for every item that a run waits for, so many seconds later."""
        self._answer = (answer, after)

    def send(self, run: str, key: str, data: Any) -> None:
        """Send an item to a run."""
        self._items.setdefault((run, key), []).append(packets.encode(data))
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def result_of(self, run: str, item: Expected) -> WaitpointResult:
        """An item, once it has been sent; or that it has not been in time."""
        self._ask(run, item)
        due = None if item.due_ms is None else item.due_ms / 1000
        while len(self._items.get((run, item.key), ())) <= item.seq:
            left = None if due is None else due - self._clock().timestamp()
            if left is not None and left <= 0:
                return WaitpointResult(id=item.id, ok=False, key=item.key, due_ms=item.due_ms)
            try:
                async with asyncio.timeout(left):
                    await self._news.wait()
            except TimeoutError:
                continue
        data, kind = self._items[run, item.key][item.seq]
        return WaitpointResult(
            id=item.id, ok=True, output=data, output_type=kind, key=item.key, seq=item.seq
        )

    def _ask(self, run: str, item: Expected) -> None:
        place = (run, item.key, item.seq)
        if self._answer is None or place in self._answered:
            return
        self._answered.add(place)
        answer, after = self._answer

        def send() -> None:
            if len(self._items.get((run, item.key), ())) <= item.seq:
                self.send(run, item.key, answer(run, item.key))

        asyncio.get_running_loop().call_later(after, send)
