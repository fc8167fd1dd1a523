"""Durations as the wire contract writes them: ``"10s"``, ``"1h30m"``, ``"7d"``, ``"2w"``."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from apps.core.errors import Invalid

_UNITS = {"w": 604_800, "d": 86_400, "hr": 3_600, "h": 3_600, "m": 60, "s": 1}
_WHOLE = re.compile(r"(?:\d+(?:w|d|hr|h|m|s)\s*)+")
_PART = re.compile(r"(\d+)(w|d|hr|h|m|s)")
_LONGEST = timedelta(days=3_650)


def parse_duration(text: str, *, field: str) -> timedelta:
    """The length of time that `text` means; raises Invalid, naming `field`."""
    if not _WHOLE.fullmatch(text.strip()):
        raise Invalid(
            f"{field} {text!r} is not a duration: write it like 30s, 10m, 1h30m, 7d or 2w",
            detail={field: ["not a duration"]},
        )
    length = sum(int(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    if length > _LONGEST.total_seconds():
        raise Invalid(f"{field} may be at most 10 years", detail={field: ["too long"]})
    return timedelta(seconds=length)


def parse_moment(text: str, *, now: datetime, field: str) -> datetime:
    """The moment that a duration from `now`, or an ISO 8601 date, means; raises Invalid."""
    if _WHOLE.fullmatch(text.strip()):
        return now + parse_duration(text, field=field)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Invalid(
            f"{field} {text!r} is neither a duration (30s, 10m, 1h30m, 7d) nor an ISO 8601 date",
            detail={field: ["neither a duration nor a date"]},
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=now.tzinfo)
