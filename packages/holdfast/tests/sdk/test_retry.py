"""When a policy tries again."""

from __future__ import annotations

import pytest

from holdfast import Abort, Retry


def decide(policy: Retry, error: BaseException, attempt: int = 1, most: int = 3) -> float | None:
    return policy.decide(error, attempt=attempt, max_attempts=most)


def test_the_delay_doubles_up_to_its_bound():
    policy = Retry(min_delay=1, max_delay=5, factor=2, jitter=False)
    assert [policy.delay_after(n) for n in (1, 2, 3, 4, 10_000)] == [1, 2, 4, 5, 5]


def test_jitter_stays_between_half_and_all():
    delays = [Retry(min_delay=10, max_delay=10).delay_after(1) for _ in range(200)]
    assert 5 <= min(delays) < max(delays) <= 10


def test_the_last_attempt_is_the_last():
    assert decide(Retry(), ValueError(), attempt=3) is None
    assert decide(Retry(), ValueError(), attempt=2) is not None


def test_the_runs_own_maximum_overrides_the_policy():
    assert decide(Retry(attempts=1), ValueError(), most=2) is not None


def test_only_listed_exceptions_are_retried():
    policy = Retry(retry_on=(ConnectionError,))
    assert decide(policy, ConnectionResetError()) is not None
    assert decide(policy, ValueError()) is None


def test_listed_exceptions_abort():
    policy = Retry(abort=(PermissionError,))
    assert decide(policy, PermissionError()) is None
    assert decide(policy, OSError()) is not None


def test_abort_is_never_retried():
    assert decide(Retry(rule=lambda error, attempt: 1.0), Abort()) is None


@pytest.mark.parametrize(("verdict", "delay"), [(False, None), (7, 7.0), (0, 0.0), (-1, 0.0)])
def test_a_rule_decides(verdict, delay):
    assert decide(Retry(rule=lambda error, attempt: verdict), ValueError()) == delay


@pytest.mark.parametrize("verdict", [True, None])
def test_a_rule_may_leave_it_to_the_policy(verdict):
    policy = Retry(rule=lambda error, attempt: verdict, jitter=False, min_delay=3)
    assert decide(policy, ValueError()) == 3


@pytest.mark.parametrize(
    "wrong", [{"attempts": 0}, {"factor": 0.5}, {"min_delay": -1}, {"min_delay": 9, "max_delay": 1}]
)
def test_a_policy_out_of_range_is_refused(wrong):
    with pytest.raises(ValueError, match="retry"):
        Retry(**wrong)


def test_a_policy_may_be_a_number_or_a_mapping():
    assert Retry.of(5) == Retry(attempts=5)
    assert Retry.of({"attempts": 2, "jitter": False}) == Retry(attempts=2, jitter=False)
    assert Retry.of(None) == Retry()
