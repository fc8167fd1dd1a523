"""When things recur: crons in time zones against a count of every minute, intervals, one time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.core.errors import Invalid
from apps.core.recurrence import (
    Cron,
    Every,
    Once,
    between,
    describe,
    describe_interval,
    follows_wall_clock,
    latest,
    occurrences,
    parse_cron,
    parse_timezone,
    timezones,
)

NEW_YORK = "America/New_York"
# Changes of an hour, of half an hour, at midnight, across the date line, and none at all.
ZONES = [
    NEW_YORK, "Europe/London", "Australia/Lord_Howe", "Africa/Cairo", "America/Havana",
    "America/Santiago", "Asia/Beirut", "Pacific/Apia", "Asia/Kathmandu", "UTC",
]  # fmt: skip
# Around changes of 2026 in those zones, and the day that Samoa left out.
MOMENTS = [
    datetime(2026, 3, 8, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC),
    datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC),
    datetime(2026, 4, 4, tzinfo=UTC), datetime(2026, 10, 3, tzinfo=UTC),
    datetime(2026, 4, 23, 12, tzinfo=UTC), datetime(2026, 9, 6, tzinfo=UTC),
    datetime(2011, 12, 29, 12, tzinfo=UTC), datetime(2026, 6, 15, tzinfo=UTC),
]  # fmt: skip
MINUTE = timedelta(minutes=1)


def shown(cron: str, zone: str, after: datetime, most: int) -> list[str]:
    """The next times as the clocks of the zone show them, with their offsets."""
    times = islice(occurrences(Cron(expression=parse_cron(cron), timezone=zone), after), most)
    return [f"{time.astimezone(ZoneInfo(zone)):%m-%d %H:%M:%S %z}" for time in times]


def test_a_fixed_time_in_a_gap_happens_right_after_the_gap():
    assert shown("30 2 * * *", NEW_YORK, datetime(2026, 3, 7, 12, tzinfo=UTC), 2) == [
        "03-08 03:00:00 -0400",
        "03-09 02:30:00 -0400",
    ]


def test_several_fixed_times_in_one_gap_happen_once():
    assert shown("0,30 2,3 * * *", NEW_YORK, datetime(2026, 3, 8, 6, tzinfo=UTC), 3) == [
        "03-08 03:00:00 -0400",
        "03-08 03:30:00 -0400",
        "03-09 02:00:00 -0400",
    ]


def test_a_fixed_time_that_comes_twice_happens_at_the_first():
    assert shown("30 1 * * *", NEW_YORK, datetime(2026, 11, 1, tzinfo=UTC), 2) == [
        "11-01 01:30:00 -0400",
        "11-02 01:30:00 -0500",
    ]


def test_a_cron_of_every_half_hour_goes_on_in_real_time():
    assert shown("*/30 * * * *", NEW_YORK, datetime(2026, 11, 1, 4, 45, tzinfo=UTC), 5) == [
        "11-01 01:00:00 -0400",
        "11-01 01:30:00 -0400",
        "11-01 01:00:00 -0500",
        "11-01 01:30:00 -0500",
        "11-01 02:00:00 -0500",
    ]


def test_a_change_of_half_an_hour_leaves_nothing_else_out():
    assert shown("*/10 3 * * *", "Australia/Lord_Howe", datetime(2026, 10, 3, 12, tzinfo=UTC), 3)[
        0
    ] == ("10-04 03:00:00 +1100")


def test_seconds_and_names_and_last_and_nth():
    after = datetime(2026, 11, 24, 12, tzinfo=UTC)
    assert shown("*/20 * * * * *", "UTC", after, 2) == [
        "11-24 12:00:20 +0000",
        "11-24 12:00:40 +0000",
    ]
    assert shown("0 9 * jan mon#2", "UTC", after, 1) == ["01-11 09:00:00 +0000"]
    assert shown("0 0 L * *", "UTC", after, 2) == ["11-30 00:00:00 +0000", "12-31 00:00:00 +0000"]
    assert shown("0 0 LW * *", "UTC", after, 1) == ["11-30 00:00:00 +0000"]
    assert shown("0 0 * * FRIL", "UTC", after, 1) == shown("0 0 * * 5L", "UTC", after, 1)
    assert shown("@weekly", "UTC", after, 1) == ["11-29 00:00:00 +0000"]
    assert shown("0 12 ? * 7", "UTC", after, 1) == ["11-29 12:00:00 +0000"]


@pytest.mark.parametrize(
    "text",
    ["", "* * * *", "60 * * * *", "0 0 31 2 *", "0 25 * * *", "a b c d e", "0 0 * * 0#6", "@often",
     "* * * * * * *", "0 0 0 * *", "0 9-5 * * *", "*/0 * * * *", "é * * * *", "0 " + "1," * 200],
)  # fmt: skip
def test_what_is_no_cron_is_refused_with_a_reason(text):
    with pytest.raises(Invalid) as refusal:
        parse_cron(text)
    assert refusal.value.detail["cron"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(1, "Every second"), (90, "Every 90 seconds"), (300, "Every 5 minutes"),
     (3_600, "Every hour"), (172_800, "Every 2 days")],
)  # fmt: skip
def test_an_interval_in_words(seconds, words):
    assert describe_interval(seconds) == words


def test_a_cron_in_words():
    assert describe(parse_cron("0 9 * * mon-fri")) == "At 09:00, Monday through Friday"
    assert describe(parse_cron("0 0 * * 5L")) == "At 00:00, on the last Friday of the month"


def test_timezones_are_those_of_iana():
    assert timezones()[0] == "UTC"
    assert {"Europe/Paris", "Asia/Kolkata"} <= set(timezones())
    assert parse_timezone("Europe/Paris") == "Europe/Paris"
    for unknown in ("Europe/Nowhere", "../etc/passwd", "", "europe/paris"):
        with pytest.raises(Invalid):
            parse_timezone(unknown)


# -- Against a count of every minute -----------------------------------------------------------

FIELDS = st.tuples(
    st.sampled_from(["*", "*/7", "*/30", "0", "30", "15,45", "0-10"]),
    st.sampled_from(["*", "*/5", "0", "1", "2", "3", "0,1,2,3", "1-2"]),
    st.sampled_from(["*", "1-10", "25-31", "L"]),
    st.sampled_from(["*", "3,4,9,10,11,12"]),
    st.sampled_from(["*", "SUN", "1-5", "0L"]),
).map(" ".join)


def counted(expression: str, zone: str, after: datetime, until: datetime) -> list[datetime]:
    """The same times by looking at the clock every minute: what the rules say, word by word."""
    place = ZoneInfo(zone)
    minutes = int((until - after) / MINUTE)
    looks = [after + step * MINUTE for step in range(1, minutes + 1)]
    matches = [_matches(expression, look.astimezone(place)) for look in looks]
    if not follows_wall_clock(expression):
        return [look for look, matched in zip(looks, matches, strict=True) if matched]
    return [
        look
        for look, matched in zip(looks, matches, strict=True)
        if (matched and not look.astimezone(place).fold)
        or _skipped_a_match(expression, look, place)
    ]


def _matches(expression: str, local: datetime) -> bool:
    wall = local.replace(tzinfo=None)
    return next(CronSim(expression, wall - timedelta(seconds=1)), None) == wall


def _skipped_a_match(expression: str, look: datetime, place: ZoneInfo) -> bool:
    """Whether the clock has just jumped over a time that the cron names."""
    here = look.astimezone(place).replace(tzinfo=None)
    before = (look - MINUTE).astimezone(place).replace(tzinfo=None)
    wall = before + MINUTE
    while wall < here:
        if _matches(expression, wall):
            return True
        wall += MINUTE
    return False


@settings(max_examples=60, deadline=None)
@given(FIELDS, st.sampled_from(ZONES), st.sampled_from(MOMENTS), st.integers(0, 60 * 20))
def test_a_cron_happens_exactly_when_its_rules_say(expression, zone, moment, minutes):
    after = moment + minutes * MINUTE
    until = after + timedelta(hours=20)
    cron = Cron(expression=parse_cron(expression), timezone=zone)
    found = []
    for time in occurrences(cron, after):
        if time > until:
            break
        found.append(time)
    assert found == counted(cron.expression, zone, after, until)


@settings(max_examples=100, deadline=None)
@given(
    FIELDS,
    st.sampled_from(ZONES),
    st.integers(0, 10 * 365 * 86_400),
)
def test_times_only_grow_and_do_not_depend_on_where_one_begins(expression, zone, seconds):
    after = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    cron = Cron(expression=parse_cron(expression), timezone=zone)
    times = list(islice(occurrences(cron, after), 5))
    assert all(earlier < later for earlier, later in zip([after, *times], times, strict=False))
    if len(times) == 5:
        halfway = times[1] + (times[2] - times[1]) / 2
        assert cron.after(halfway) == times[2]
        assert cron.after(times[2] - timedelta(microseconds=1)) == times[2]


# -- Intervals and one time --------------------------------------------------------------------


def test_an_interval_counts_from_its_anchor():
    anchor = datetime(2026, 11, 24, 12, tzinfo=UTC)
    every = Every(seconds=90, anchor=anchor)
    assert every.after(anchor - timedelta(days=3)) == anchor
    assert every.after(anchor) == anchor + timedelta(seconds=90)
    assert every.after(anchor + timedelta(seconds=100)) == anchor + timedelta(seconds=180)


def test_one_time_comes_once():
    at = datetime(2026, 11, 24, 12, tzinfo=UTC)
    assert Once(at=at).after(at - timedelta(seconds=1)) == at
    assert Once(at=at).after(at) is None
    assert list(occurrences(Once(at=at), at - timedelta(days=1))) == [at]


def test_the_first_and_the_last_times_of_a_range():
    midnight = datetime(2026, 11, 24, tzinfo=UTC)
    hourly = Cron(expression="0 * * * *")
    day = {"since": midnight, "until": midnight + timedelta(days=1)}
    assert len(between(hourly, **day, most=100)) == 25
    assert between(hourly, **day, most=1) == [midnight]
    assert latest(hourly, **day, most=2) == [
        midnight + timedelta(hours=23), midnight + timedelta(hours=24),
    ]  # fmt: skip
    assert latest(hourly, **day, most=100) == between(hourly, **day, most=100)
    assert latest(hourly, since=day["until"], until=day["since"], most=3) == []


def test_the_last_of_many_millions_of_times_is_found_from_the_end():
    begin = datetime(2000, 1, 1, tzinfo=UTC)
    until = begin + timedelta(days=10_000, seconds=0.5)
    every = Every(seconds=1, anchor=begin)
    assert latest(every, since=begin, until=until, most=1) == [begin + timedelta(days=10_000)]
