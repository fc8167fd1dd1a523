"""How far ahead of its places a worker takes runs: only while they are very short.

Between the end of a run and the arrival of the next lies a round trip to the coordinator, which
for runs of a millisecond is most of the time. So while runs are short, more are taken than there
are places, and wait here for a moment: as many as have ended in such a moment lately. What has to
wait longer, because runs have become longer, is given back.
"""

from __future__ import annotations

import time

SHORT_SECONDS = 0.02
"""Runs of this length or less are short."""

AHEAD = 16
"""How many times its places a worker takes at least while runs are short."""

MOST_AHEAD = 32
"""How many times its places a worker takes at most."""

AHEAD_SECONDS = 0.25
"""For how long the runs that are taken ahead should last."""

PATIENCE_SECONDS = 0.5
"""How long a run may wait here for a place before it is given back."""

_WEIGHT = 0.1
_BEFORE_ANY = 1.0
_WINDOW_SECONDS = 0.1
_HALF_LIFE_SECONDS = 2.0


class Pace:
    """The length of runs, the latest counting most, and how many end in a second.

    Args:
        places: How many runs execute at once.
    """

    __slots__ = ("_ended", "_per_second", "_places", "_seconds", "_since")

    def __init__(self, places: int) -> None:
        self._places = places
        self._seconds = _BEFORE_ANY
        self._per_second = 0.0
        self._ended, self._since = 0, time.monotonic()

    def record(self, seconds: float) -> None:
        """Take note of a run that has just ended, after so long.

        A long one counts at once, short ones have to convince.
        """
        weight = 1.0 if seconds > self._seconds else _WEIGHT
        self._seconds += (seconds - self._seconds) * weight
        self._ended += 1
        now = time.monotonic()
        took = now - self._since
        if took >= _WINDOW_SECONDS:
            # what it can do, so a pause in what comes counts for little
            kept = self._per_second * 0.5 ** (took / _HALF_LIFE_SECONDS)
            self._per_second = max(self._ended / took, kept)
            self._ended, self._since = 0, now

    @property
    def ahead(self) -> int:
        """By how much to multiply the places."""
        if self._seconds > SHORT_SECONDS:
            return 1
        lasting = round(self._per_second * AHEAD_SECONDS / max(1, self._places))
        return min(MOST_AHEAD, max(AHEAD, lasting))
