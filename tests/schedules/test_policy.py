"""When a time is due: within its window and its jitter, and always the same."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid5

from hypothesis import given
from hypothesis import strategies as st

from apps.core.recurrence import Every
from apps.schedules.policy import Rule

AT = datetime(2026, 11, 24, 12, tzinfo=UTC)
SEED = UUID(int=7)


def rule(seed: UUID = SEED, **kinds) -> Rule:
    return Rule(recurrence=Every(seconds=3_600, anchor=AT), seed=seed, **kinds)


def test_jitter_delays_each_time_by_its_own_chance_and_always_by_the_same():
    late = [rule(jitter_seconds=600).due(AT + timedelta(hours=n)) for n in range(50)]
    shifts = {due - AT - timedelta(hours=n) for n, due in enumerate(late)}
    assert len(shifts) == 50
    assert timedelta(0) <= min(shifts) < timedelta(minutes=3)
    assert timedelta(minutes=7) < max(shifts) < timedelta(minutes=10)
    assert [rule(jitter_seconds=600).due(AT + timedelta(hours=n)) for n in range(50)] == late
    assert rule(uuid5(SEED, "another"), jitter_seconds=600).due(AT) != late[0]


@given(
    phase=st.floats(0, 1), window=st.sampled_from(["", "30m", "50%", "100%", "24h"]),
    jitter=st.integers(0, 100_000), hour=st.integers(0, 10_000),
)  # fmt: skip
def test_no_time_is_due_before_it_comes_or_after_the_next(phase, window, jitter, hour):
    at = AT + timedelta(hours=hour)
    due = rule(phase=phase, window=window, jitter_seconds=jitter).due(at)
    assert at <= due < at + timedelta(hours=1)
