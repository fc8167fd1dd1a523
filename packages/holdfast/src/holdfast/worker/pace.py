"""How far ahead of its places a worker takes runs: only while they are very short.

Between the end of a run and the arrival of the next lies a round trip to the coordinator, which
for runs of a millisecond is most of the time. So while runs are short, more are taken than there
are places, and wait here for a moment. What has to wait longer, because runs have become longer,
is given back.
"""

from __future__ import annotations

SHORT_SECONDS = 0.02
"""Runs of this length or less are short."""

AHEAD = 8
"""How many times its places a worker takes while runs are short."""

PATIENCE_SECONDS = 0.25
"""How long a run may wait here for a place before it is given back."""

_WEIGHT = 0.1
_BEFORE_ANY = 1.0


class Pace:
    """The length of runs, the latest counting most."""

    __slots__ = ("_seconds",)

    def __init__(self) -> None:
        self._seconds = _BEFORE_ANY

    def record(self, seconds: float) -> None:
        """Take note of a run; a long one counts at once, short ones have to convince."""
        weight = 1.0 if seconds > self._seconds else _WEIGHT
        self._seconds += (seconds - self._seconds) * weight

    @property
    def ahead(self) -> int:
        """By how much to multiply the places."""
        return AHEAD if self._seconds <= SHORT_SECONDS else 1
