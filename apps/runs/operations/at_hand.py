"""Free places at workers that are connected to this very process.

A lone trigger hands out what is ready in its own transaction, by the same claim as ever, so its run
is at the worker one commit, one thread and one turn earlier.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import UUID

from django.db import connection

from apps.runs.operations.claim import Claimed, Offer

NOTHING = Claimed(answers=[])


@dataclass(slots=True, kw_only=True)
class Hand:
    """Places that nobody else is offered until they are given back.

    `give_back` takes what was claimed for them, which must be committed by then.
    """

    offers: Sequence[Offer] = ()
    give_back: Callable[[Claimed], None] = lambda _: None
    claimed: Claimed = NOTHING
    _is_over: bool = field(default=False, init=False)

    def fill(self) -> None:
        """Send what was claimed to the workers: after the commit, and once."""
        if not self._is_over:
            self._is_over = True
            self.give_back(self.claimed)

    def drop(self) -> None:
        """Give the places back as they were, unless they have been filled."""
        self.claimed = NOTHING
        self.fill()


Reserve = Callable[[UUID], Hand]

_reserve: list[Reserve] = []


def attend(reserve: Reserve) -> None:
    """Have this process ask `reserve`, on any thread, for free places in an environment."""
    _reserve[:] = [reserve]


@contextmanager
def places_at_hand(environment_id: UUID) -> Iterator[Hand]:
    """Free places, kept for the length of the block, in which the caller commits."""
    is_outermost = not connection.in_atomic_block
    hand = _reserve[0](environment_id) if _reserve and is_outermost else Hand()
    try:
        yield hand
    finally:
        hand.drop()
