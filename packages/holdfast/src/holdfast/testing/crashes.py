"""Crashes on purpose, and the journals of a bench, which survive them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from holdfast.errors import HoldfastError
from holdfast.journal import Journal
from holdfast.protocol import Entry

When = Literal["before", "after"]


class Crashed(HoldfastError):
    """The process of a run was ended on purpose."""


@dataclass(frozen=True, slots=True)
class Crash:
    """Where a bench ends the process of a durable run, once.

    Attributes:
        point: At which record of all that the bench's runs make, from 1.
        when: ``before`` it is kept, so that what it stands for has been done and is done again; or
            ``after``, when it is kept and the process does not know.
    """

    point: int
    when: When = "before"


class Crashes:
    """Counts what the runs of a bench record, and crashes at the point that was asked for.

    Args:
        crash: Where; None: nowhere.
    """

    def __init__(self, crash: Crash | None = None) -> None:
        self.points = 0
        self._crash = crash

    def is_due(self, when: When) -> bool:
        """Whether the process is to end here."""
        crash = self._crash
        if crash is None or (crash.point, crash.when) != (self.points, when):
            return False
        self._crash = None
        return True


class Keeper:
    """Keeps the journal of one run: the server of a process in memory.

    Args:
        kept: What has been kept so far; it is added to.
        crashes: Where the process ends.
        on_crash: Ends it.
    """

    def __init__(
        self, kept: list[Entry], crashes: Crashes, *, on_crash: Callable[[], None]
    ) -> None:
        self.journal: Journal | None = None
        self._kept = kept
        self._crashes = crashes
        self._on_crash = on_crash
        self._loop = asyncio.get_running_loop()
        self._is_due = False

    def keep_soon(self) -> None:
        """Keep what is pending when the code has come to rest."""
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon_threadsafe(self.keep)

    def keep(self) -> None:
        """Keep what is pending now."""
        self._is_due = False
        if self.journal is None:
            return
        for entry in self.journal.take():
            self._crashes.points += 1
            if self._crashes.is_due("before"):
                self._on_crash()
                return
            self._kept.append(entry)
            if self._crashes.is_due("after"):
                self._on_crash()
                return
            self.journal.acknowledged(entry.seq)


def rewound(kept: list[Entry], seqs: tuple[int, ...]) -> list[Entry]:
    """A journal for the next attempt: without what failed this one, and what was called upon it."""
    if not seqs:
        return kept
    return [each for each in kept if each.seq not in seqs and each.after < max(seqs)]
