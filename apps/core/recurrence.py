"""When something recurs: by a cron in a time zone, at intervals, or once; pure, without a clock.

A cron whose hour and minute are both fixed follows the wall clock: it happens once on each day that
it names, at the first moment after a gap, and in the first pass of an hour that comes twice. Any
other cron follows real time: it leaves out what the clock leaves out, and happens in both passes.
"""

from __future__ import annotations

import itertools
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from typing import TypeAlias
from zoneinfo import ZoneInfo, available_timezones

from cron_descriptor import Options, get_description
from cronsim import CronSim, CronSimError

from apps.core.durations import parse_duration
from apps.core.errors import Invalid

_UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))
LONGEST_WINDOW = timedelta(hours=24)
_EXPRESSION_LENGTH = 255
_ALIASES = {
    "@YEARLY": "0 0 1 1 *",
    "@ANNUALLY": "0 0 1 1 *",
    "@MONTHLY": "0 0 1 * *",
    "@WEEKLY": "0 0 * * 0",
    "@DAILY": "0 0 * * *",
    "@MIDNIGHT": "0 0 * * *",
    "@HOURLY": "0 * * * *",
}
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_LAST_BY_NAME = re.compile(rf"({'|'.join(_WEEKDAYS)})L")
_PERCENT = re.compile(r"(\d{1,3})%")
_SECOND = timedelta(seconds=1)
_BEGINNING = datetime(2000, 1, 1)  # noqa: DTZ001 -- a wall clock's time: any will do


@dataclass(frozen=True, slots=True, kw_only=True)
class Cron:
    """A cron of five fields, or of six with seconds first, in an IANA time zone."""

    expression: str
    timezone: str = "UTC"

    def after(self, moment: datetime) -> datetime | None:
        """The first time later than `moment`, in UTC; None when there is none within 50 years."""
        return _cron_after(self.expression, self.timezone, moment.astimezone(UTC))


@dataclass(frozen=True, slots=True, kw_only=True)
class Every:
    """An interval of real time, counted from its anchor."""

    seconds: int
    anchor: datetime

    def after(self, moment: datetime) -> datetime | None:
        """The first time later than `moment`; the anchor itself is the first of all."""
        passed = (moment - self.anchor) // timedelta(seconds=self.seconds)
        return self.anchor + timedelta(seconds=max(passed + 1, 0) * self.seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Once:
    """One time."""

    at: datetime

    def after(self, moment: datetime) -> datetime | None:
        """The time, unless it has passed."""
        return self.at if self.at > moment else None


Recurrence: TypeAlias = Cron | Every | Once


def occurrences(recurrence: Recurrence, after: datetime) -> Iterator[datetime]:
    """Every time later than `after`, in order; it may never end."""
    moment = recurrence.after(after)
    while moment is not None:
        yield moment
        moment = recurrence.after(moment)


def between(
    recurrence: Recurrence, *, since: datetime, until: datetime, most: int
) -> list[datetime]:
    """The first `most` times from `since` to `until`, both included."""
    found = itertools.takewhile(
        lambda moment: moment <= until,
        occurrences(recurrence, since - timedelta(microseconds=1)),
    )
    return list(itertools.islice(found, most))


def latest(
    recurrence: Recurrence, *, since: datetime, until: datetime, most: int
) -> list[datetime]:
    """The last `most` times from `since` to `until`, both included, oldest first.

    Looks back from the end in growing steps: between the two there may be millions.
    """
    span = timedelta(minutes=1)
    while True:
        start = max(since - timedelta(microseconds=1), until - span)
        following = occurrences(recurrence, start)
        kept = deque(itertools.takewhile(lambda moment: moment <= until, following), maxlen=most)
        if len(kept) == most or start < since:
            return list(kept)
        span *= 4


# -- Windows -----------------------------------------------------------------------------------


def parse_window(text: str) -> str:
    """A window as it is kept, a duration or a part of the gap; raises Invalid."""
    found = _PERCENT.fullmatch(text.strip())
    if found and int(found[1]) <= 100:
        return text.strip()
    try:
        length = parse_duration(text, field="window")
    except Invalid:
        length = None
    if length is None or length > LONGEST_WINDOW:
        raise Invalid(
            f"window {text!r} is neither a duration of at most 24h nor from 0% to 100%",
            detail={"window": ["not a window"]},
        )
    return text.strip()


def window_length(window: str, gap: timedelta) -> timedelta:
    """How long a window is before the next time, which is `gap` away."""
    if not window:
        return timedelta(0)
    if found := _PERCENT.fullmatch(window):
        return gap * int(found[1]) / 100
    return min(gap, parse_duration(window, field="window"))


# -- Crons -------------------------------------------------------------------------------------


def parse_cron(text: str) -> str:
    """The cron as it is kept; raises Invalid for one that is none, or that never happens.

    `?` is `*`, `FRIL` is `5L`, and names such as `@daily` become their five fields.
    """
    upper = " ".join(text.upper().split())
    expression = _ALIASES.get(upper, upper).replace("?", "*")
    expression = _LAST_BY_NAME.sub(lambda m: f"{_WEEKDAYS.index(m[1])}L", expression)
    if len(expression) > _EXPRESSION_LENGTH:
        raise _no_cron(f"a cron has at most {_EXPRESSION_LENGTH} characters")
    try:
        next(CronSim(expression, _BEGINNING))
    except (CronSimError, ValueError) as error:
        raise _no_cron(f"{text!r} is not a cron: {_reason(error)}") from None
    except StopIteration:
        raise _no_cron(f"{text!r} never happens") from None
    return expression


def _no_cron(sentence: str) -> Invalid:
    return Invalid(sentence, detail={"cron": [sentence]})


def _reason(error: Exception) -> str:
    if "fields" in str(error):
        return "it has five fields (minute, hour, day, month, weekday), or six with seconds first"
    return f"{str(error)[:1].lower()}{str(error)[1:]}"


@lru_cache(maxsize=4096)
def describe(expression: str) -> str:
    """A cron in words, such as "At 09:00, Monday through Friday"."""
    options = Options()
    options.locale_code = "en_US"
    options.use_24hour_time_format = True
    return str(get_description(expression, options))


def describe_interval(seconds: int) -> str:
    """An interval in words, such as "Every 5 minutes"."""
    length, unit = next(each for each in _UNITS if seconds % each[0] == 0)
    count = seconds // length
    return f"Every {unit}" if count == 1 else f"Every {count} {unit}s"


@cache
def timezones() -> tuple[str, ...]:
    """The names of all time zones, UTC first."""
    return ("UTC", *sorted(available_timezones() - {"UTC", "Factory", "localtime"}))


def parse_timezone(name: str) -> str:
    """The name of a time zone as it is; raises Invalid for an unknown one."""
    if name not in timezones():
        raise Invalid(
            f"{name!r} is not an IANA time zone, such as Europe/Paris",
            detail={"timezone": ["not a time zone"]},
        )
    return name


def follows_wall_clock(expression: str) -> bool:
    """Whether hour and minute are fixed, so that a day's times are those that a clock shows."""
    *_, minute, hour, _, _, _ = expression.split()
    return not (minute.startswith("*") or hour.startswith("*"))


# Many schedules share one cron, and ask for its next time in the same second.
@lru_cache(maxsize=4096)
def _cron_after(expression: str, timezone: str, moment: datetime) -> datetime | None:
    try:
        if timezone == "UTC":
            return next(CronSim(expression, moment))
        zone = ZoneInfo(timezone)
        if follows_wall_clock(expression):
            return _first_by_wall(expression, zone, moment)
        return _first_by_real_time(expression, zone, moment)
    except (StopIteration, OverflowError):
        return None


def _first_by_wall(expression: str, zone: ZoneInfo, moment: datetime) -> datetime | None:
    wall = moment.astimezone(zone).replace(tzinfo=None)
    found = (
        _instant(shown, zone) if _exists(shown, zone) else _end_of_gap(shown, zone)
        for shown in CronSim(expression, wall)
    )
    return next((instant for instant in found if instant > moment), None)


def _first_by_real_time(expression: str, zone: ZoneInfo, moment: datetime) -> datetime | None:
    """The clock shows some times twice: looks at all that it may show again, takes the earliest."""
    best: datetime | None = None
    for shown in CronSim(expression, _rewound(zone, moment)):
        if not _exists(shown, zone):
            continue
        first, second = _instant(shown, zone), _instant(shown, zone, fold=1)
        if best is not None and first >= best:
            break
        later = [instant for instant in (first, second, best) if instant and instant > moment]
        best = min(later, default=None)
    return best


def _rewound(zone: ZoneInfo, moment: datetime) -> datetime:
    """The wall clock's time from which it may show times later than `moment`."""
    local = moment.astimezone(zone)
    wall = local.replace(tzinfo=None)
    repeats = _instant(wall, zone, fold=1) - _instant(wall, zone)
    return wall - repeats - _SECOND if repeats > timedelta(0) and not local.fold else wall


def _instant(wall: datetime, zone: ZoneInfo, fold: int = 0) -> datetime:
    return wall.replace(tzinfo=zone, fold=fold).astimezone(UTC)


def _exists(wall: datetime, zone: ZoneInfo) -> bool:
    return _instant(wall, zone).astimezone(zone).replace(tzinfo=None, fold=0) == wall


def _end_of_gap(wall: datetime, zone: ZoneInfo) -> datetime:
    """The first moment after the gap that this time is in."""
    # The offset after a gap (fold 1) puts a time in it before the gap, the other one behind it.
    before, behind = _instant(wall, zone, fold=1), _instant(wall, zone)
    offset = before.astimezone(zone).utcoffset()
    while behind - before > _SECOND:
        middle = before + timedelta(seconds=(behind - before) // _SECOND // 2)
        if middle.astimezone(zone).utcoffset() == offset:
            before = middle
        else:
            behind = middle
    return behind
