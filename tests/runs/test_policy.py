"""Decisions that need neither a database nor a clock."""

from __future__ import annotations

import json
import random
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.runs import policy
from apps.runs.limits import Limits

LIMITS = Limits()
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def delay(attempt, **retry):
    found = policy.retry_delay(retry, attempt=attempt, chance=random.Random(1))
    return found.total_seconds()


def test_retries_back_off_by_the_tasks_own_numbers():
    retry = {"minTimeoutInMs": 500, "maxTimeoutInMs": 3_000, "factor": 2, "randomize": False}
    assert [delay(n, **retry) for n in range(1, 6)] == [0.5, 1, 2, 3, 3]


def test_retries_spread_between_once_and_twice():
    retry = {"minTimeoutInMs": 1_000, "factor": 1}
    assert all(1 <= delay(1, **retry) <= 2 for _ in range(50))


def test_a_task_that_says_nothing_waits_a_second_and_at_most_a_minute():
    assert 1 <= delay(1) <= 2
    assert delay(200) == 60


def test_a_run_that_comes_back_rests_ever_longer():
    seconds = [policy.delivery_pause(n).total_seconds() for n in range(1, 12)]
    assert seconds == [0, 0, 0, 1, 2, 4, 8, 16, 30, 30, 30]


@given(st.integers())
def test_what_a_worker_measures_stays_within_bounds(number):
    assert 0 <= policy.executed(number) < 2**62
    assert timedelta(0) <= policy.retry_pause(number) <= timedelta(days=365)


@given(JSON)
def test_whatever_is_made_storable_is_json_that_postgresql_takes(value):
    text = json.dumps(policy.storable(value), ensure_ascii=False, allow_nan=False)
    assert policy.is_storable(text)
    assert "\\u0000" not in json.dumps(policy.storable(value)).replace("\\\\", "")


@given(JSON)
def test_what_is_storable_already_is_left_alone(value):
    once = policy.storable(value)
    assert policy.storable(once) == once


@given(st.dictionaries(st.text(max_size=20), st.text() | st.lists(st.text()), max_size=8))
def test_an_error_is_kept_whole_when_it_is_small(error):
    assert policy.kept_error(error, LIMITS) == policy.storable(error)


@pytest.mark.parametrize("letter", ["x", "é", "\0", "😀", '"'])
def test_an_error_is_cut_to_its_limit_whatever_it_is_made_of(letter):
    huge = {"type": "BUILT_IN_ERROR", "message": letter * 10**6, "stackTrace": letter * 10**6}
    kept = policy.kept_error(huge, LIMITS)
    assert len(json.dumps(kept)) <= LIMITS.error_bytes
    assert (kept["type"], kept["message"].endswith("…")) == ("BUILT_IN_ERROR", True)


def test_metadata_is_measured_in_bytes_of_utf8():
    policy.check_metadata({"a": "é" * (LIMITS.metadata_bytes // 2 - 100)}, LIMITS)
