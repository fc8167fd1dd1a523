"""Lengths of time as people write them: ``90``, ``"1h30m"``, ``timedelta(days=2)``."""

from __future__ import annotations

import re
from datetime import timedelta

_UNITS = {"w": 604_800, "d": 86_400, "hr": 3_600, "h": 3_600, "m": 60, "s": 1}
_WHOLE = re.compile(r"(?:\d+(?:w|d|hr|h|m|s)\s*)+")
_PART = re.compile(r"(\d+)(w|d|hr|h|m|s)")


def length_of(value: str | float | timedelta) -> timedelta:
    """The length of time that a value means.

    Args:
        value: Seconds, a `timedelta`, or text like ``"30s"``, ``"1h30m"``, ``"7d"``, ``"2w"``.

    Raises:
        ValueError: The text is not a length of time.
    """
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        return timedelta(seconds=value)
    if not _WHOLE.fullmatch(value.strip()):
        raise ValueError(f"{value!r} is not a duration: write it like 30s, 10m, 1h30m or 7d")
    parts = _PART.findall(value)
    return timedelta(seconds=sum(int(number) * _UNITS[unit] for number, unit in parts))
