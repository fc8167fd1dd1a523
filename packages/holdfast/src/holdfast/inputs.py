"""Who waits for what is sent to a run, in their order, and what has come for them.

The items of an input are numbered from 0. An attempt takes each of them once, in order: who waits
first gets the next, and what was taken by a wait that is given up in the same moment goes back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from holdfast.protocol import Expected, WaitpointResult


@dataclass(slots=True, eq=False)
class Waiter:
    """One who waits for the next item, until a moment in milliseconds since 1970."""

    future: asyncio.Future[WaitpointResult]
    due_ms: int | None


class InputLine:
    """One input of one attempt.

    Args:
        key: Its name.
        name: Gives the id of a waitpoint by a name that the run chooses for it.
    """

    def __init__(self, key: str, *, name: Callable[[str], str]) -> None:
        self._key = key
        self._name = name
        self._items: dict[int, WaitpointResult] = {}
        self._taken: set[int] = set()
        self._first_free = 0
        self._waiters: list[Waiter] = []
        self._given_up_ms = -1

    def join(self, due_ms: int | None) -> Waiter:
        """Stand in line."""
        waiter = Waiter(asyncio.get_running_loop().create_future(), due_ms)
        self._waiters.append(waiter)
        return waiter

    def leave(self, waiter: Waiter) -> None:
        """Wait no longer; an item that was given in this very moment goes back."""
        if waiter in self._waiters:
            self._waiters.remove(waiter)
        elif waiter.future.done() and not waiter.future.cancelled():
            self.put_back(waiter.future.result())

    def take(self, result: WaitpointResult) -> None:
        """What the server says: an item that has come, or that none has until a moment."""
        if not result.ok:
            self._given_up_ms = max(self._given_up_ms, result.due_ms or 0)
        elif result.seq is not None and result.seq not in self._taken:
            self._items[result.seq] = result

    def mark_taken(self, seq: int) -> None:
        """An item that the code was given when it was executed before."""
        self._items.pop(seq, None)
        self._taken.add(seq)

    def put_back(self, result: WaitpointResult) -> None:
        """Take back an item that was given to somebody who has not got it."""
        if result.ok and result.seq is not None:
            self._taken.discard(result.seq)
            self._first_free = min(self._first_free, result.seq)
            self._items[result.seq] = result

    def serve(self) -> bool:
        """Give one who waits the next item, or word that none has come; whether there was one."""
        seq = next(self._free())
        if self._waiters and seq in self._items:
            self._waiters.pop(0).future.set_result(self._items.pop(seq))
            self._taken.add(seq)
            return True
        for waiter in self._waiters:
            if waiter.due_ms is not None and waiter.due_ms <= self._given_up_ms:
                self._waiters.remove(waiter)
                waiter.future.set_result(WaitpointResult(id="", ok=False, key=self._key))
                return True
        return False

    def expected(self) -> list[Expected]:
        """What those who wait, wait for: one item each, in their order."""
        return [
            Expected(
                id=self._name(f"\0input\0{self._key}\0{seq}\0{waiter.due_ms}"),
                key=self._key,
                seq=seq,
                due_ms=waiter.due_ms,
            )
            for waiter, seq in zip(self._waiters, self._free(), strict=False)
            if seq not in self._items
        ]

    def cancel(self, error: BaseException) -> None:
        """Have everybody who waits raise this."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.future.done():
                waiter.future.set_exception(error)
                waiter.future.exception()  # nobody may be left to look at it

    def _free(self) -> Iterator[int]:
        """The numbers of the items that nobody has taken, from the first on."""
        while self._first_free in self._taken:
            self._first_free += 1
        seq = self._first_free
        while True:
            if seq not in self._taken:
                yield seq
            seq += 1
