"""Waits on the bench: times, tokens and children, alone and several at once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pydantic
import pytest

from holdfast import (
    Abort,
    ChildRunFailed,
    IdempotencyKey,
    NotInRun,
    Retry,
    TokenInvalid,
    TokenTimedOut,
    ctx,
    on_resume,
    on_wait,
    task,
    wait,
)
from holdfast.testing import Bench

HOUR = 3_600


@pytest.fixture
def bench():
    with Bench() as made:
        yield made


@pytest.fixture(autouse=True)
def child(empty_registry):
    """A child whose run takes two hours."""

    @task
    async def child(result: str) -> str:
        await wait.for_(hours=2)
        if result == "bad":
            raise Abort("no")
        return result

    return child


def passed(bench, run) -> timedelta:
    """How long a run took, to the millisecond: both ends are rounded to microseconds."""
    took = run.finished_at - run.created_at
    return timedelta(milliseconds=round(took / timedelta(milliseconds=1)))


# -- Times -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "seconds"),
    [
        (((90,), {}), 90),
        (((1.5,), {}), 1.5),
        ((("1h30m",), {}), 5_400),
        (((timedelta(minutes=2),), {}), 120),
        (((), {"weeks": 1, "days": 1, "hours": 1, "minutes": 1, "seconds": 1}), 694_861),
        (((60,), {"minutes": 1}), 120),
        (((), {}), 0),
    ],
)
def test_a_wait_is_as_long_as_it_says(bench, arguments, seconds):
    @task
    async def sleeper() -> None:
        given, named = arguments
        await wait.for_(*given, **named)

    run = bench.run(sleeper)
    assert run.status == "COMPLETED"
    assert passed(bench, run) == pytest.approx(timedelta(seconds=seconds), abs=timedelta(seconds=1))


@pytest.mark.parametrize("wrong", [-1, "soon", "-5m", ""])
def test_a_length_that_is_none_is_refused(bench, wrong):
    @task(retry=1)
    async def sleeper() -> None:
        await wait.for_(wrong)

    assert bench.run(sleeper).error["name"] == "ValueError"


def test_a_run_waits_until_a_moment_and_not_for_one_that_is_over(bench):
    seen = []

    @task
    async def sleeper() -> None:
        await wait.until(datetime(2026, 1, 2, 12, tzinfo=UTC))
        seen.append(bench.now)
        await wait.until(datetime(2026, 1, 2, 13))  # noqa: DTZ001 -- without a zone it is UTC
        seen.append(bench.now)
        await wait.until(datetime(2020, 1, 1, tzinfo=UTC))
        seen.append(bench.now)

    bench.run(sleeper)
    first = datetime(2026, 1, 2, 12, tzinfo=UTC)
    assert [moment.replace(microsecond=0) for moment in seen] == [
        first, first + timedelta(hours=1), first + timedelta(hours=1),
    ]  # fmt: skip


def test_a_waiting_run_says_so_and_its_hooks_are_heard(bench):
    heard = []
    on_wait(lambda: heard.append("wait"))
    on_resume(lambda: heard.append("resume"))

    @task
    async def sleeper() -> None:
        await wait.for_(hours=1)

    run = bench.trigger(sleeper)
    bench.advance(10)
    assert (run.status, heard) == ("WAITING", ["wait"])
    bench.settle()
    assert (run.status, heard) == ("COMPLETED", ["wait", "resume"])


def test_waiting_takes_nothing_of_the_time_that_a_run_may_execute(bench):
    @task(max_duration=60)
    async def sleeper() -> str:
        await wait.for_(days=30)
        await asyncio.sleep(30)
        await wait.for_(days=30)
        return "done"

    assert bench.run(sleeper).output == "done"


def test_an_attempt_that_waited_waits_again_when_it_is_retried(bench):
    @task(retry=Retry(attempts=2, min_delay=0, jitter=False))
    async def sleeper() -> None:
        await wait.for_(hours=1)
        if ctx.attempt.number == 1:
            raise ConnectionError

    run = bench.run(sleeper)
    assert passed(bench, run) >= timedelta(hours=2)


def test_a_named_wait_goes_on_where_the_earlier_attempt_began_it(bench):
    @task(retry=Retry(attempts=3, min_delay=0, jitter=False))
    async def sleeper() -> None:
        await wait.for_(hours=1, idempotency_key="rest")
        if ctx.attempt.number < 3:
            raise ConnectionError

    run = bench.run(sleeper)
    assert timedelta(hours=1) <= passed(bench, run) < timedelta(hours=1, minutes=1)


def test_a_named_wait_of_another_run_is_another(bench):
    @task
    async def sleeper() -> None:
        await wait.for_(hours=1, idempotency_key="rest")

    bench.run(sleeper)
    assert passed(bench, bench.run(sleeper)) >= timedelta(hours=1)


def test_a_plain_function_waits_by_the_sync_twins(bench):
    @task
    def sleeper() -> str:
        wait.for_sync(hours=1)
        wait.until_sync(datetime(2026, 1, 1, 3, tzinfo=UTC))
        token = wait.create_token_sync(timeout="1d")
        wait.complete_token_sync(token, {"n": 1})
        assert wait.retrieve_token_sync(token).output == {"n": 1}
        assert [each.id for each in wait.list_tokens_sync(most=5)] == [token.id]
        return str(wait.for_token_sync(token).unwrap())

    run = bench.run(sleeper)
    assert run.result() == "{'n': 1}"
    assert passed(bench, run) >= timedelta(hours=3)


@pytest.mark.parametrize("call", [lambda: wait.for_(1), lambda: wait.for_token("waitpoint_1")])
async def test_waiting_outside_of_a_run_is_an_error(call):
    with pytest.raises(NotInRun):
        await call()


async def test_a_sync_twin_on_an_event_loop_is_an_error():
    with pytest.raises(RuntimeError, match="event loop"):
        wait.for_sync(1)
    with pytest.raises(RuntimeError, match="event loop"):
        wait.create_token_sync()


# -- Tokens ------------------------------------------------------------------------------------


class Approval(pydantic.BaseModel):
    approved: bool
    at: datetime | None = None


@pytest.fixture
def approve():
    @task(retry=1)
    async def approve(patience: str) -> bool:
        token = await wait.create_token(timeout=patience, tags="post:1")
        return (await wait.for_token(token, Approval)).unwrap().approved

    return approve


def test_a_completed_token_brings_its_value_as_the_type_that_was_asked_for(bench, approve):
    run = bench.trigger(approve, "1d")
    bench.advance(HOUR)
    (token,) = bench.tokens
    assert (run.status, token.status, token.tags) == ("WAITING", "WAITING", ["post:1"])
    bench.complete_token(token, {"approved": True, "at": bench.now})
    bench.settle()
    assert run.output is True
    assert bench.tokens[0].completed_at is not None


def test_a_token_that_nobody_completes_is_a_timeout_of_its_own_type(bench, approve):
    run = bench.run(approve, "1d")
    assert (run.status, run.error["name"]) == ("FAILED", "TokenTimedOut")
    assert passed(bench, run) >= timedelta(days=1)


def test_a_timeout_need_not_be_raised(bench):
    @task
    async def patient() -> str:
        result = await wait.for_token(await wait.create_token(timeout=60))
        assert (result.ok, result.output) == (False, None)
        assert isinstance(result.error, TokenTimedOut)
        assert isinstance(result.error, TimeoutError)
        return result.error.error["code"]

    assert bench.run(patient).output == "TRIGGER_WAITPOINT_TIMEOUT"


def test_a_value_that_does_not_fit_says_where(bench, approve):
    run = bench.trigger(approve, "1d")
    bench.advance(1)
    bench.complete_token(bench.tokens[0], {"approved": "perhaps"})
    bench.settle()
    assert run.error["name"] == TokenInvalid.__name__
    assert "approved" in run.error["message"]


def test_tokens_may_be_answered_as_they_are_made(bench, approve):
    bench.answer_tokens(lambda token: {"approved": token.tags == ["post:1"]}, after="2h")
    run = bench.run(approve, "1d")
    assert (run.output, passed(bench, run) >= timedelta(hours=2)) == (True, True)


def test_a_token_completes_once_and_for_all_who_wait(bench):
    @task
    async def reader(token: str) -> str:
        return (await wait.for_token(token, str)).unwrap()

    token = bench.create_token(timeout="1d")
    runs = [bench.trigger(reader, token.id) for _ in range(2)]
    bench.advance(1)
    bench.complete_token(token, "first")
    bench.complete_token(token, "second")
    bench.settle()
    late = bench.run(reader, token.id)
    assert [run.output for run in (*runs, late)] == ["first"] * 3


def test_one_run_may_wait_for_a_token_in_two_places(bench):
    @task
    async def both(token: str) -> list[str]:
        async def one() -> str:
            return (await wait.for_token(token, str)).unwrap()

        async def impatient() -> str:
            try:
                async with asyncio.timeout(60):
                    return await one()
            except TimeoutError:
                return "gone"

        return await asyncio.gather(one(), impatient())

    token = bench.create_token(timeout="1d")
    run = bench.trigger(both, token.id)
    bench.advance(HOUR)
    bench.complete_token(token, "here")
    bench.settle()
    assert run.output == ["here", "gone"]


def test_a_key_finds_the_token_of_an_earlier_attempt(bench):
    made = []

    @task(retry=Retry(attempts=2, min_delay=0, jitter=False))
    async def asks() -> str:
        token = await wait.create_token(idempotency_key="ask", timeout="1d")
        made.append((token.id, token.is_cached))
        if ctx.attempt.number == 1:
            raise ConnectionError
        await wait.complete_token(token, "yes")
        return (await wait.for_token(token, str)).unwrap()

    assert bench.run(asks).output == "yes"
    assert made == [("waitpoint_1", False), ("waitpoint_1", True)]


def test_a_key_is_of_its_run_unless_it_is_global(bench):
    @task
    async def asks() -> None:
        await wait.create_token(idempotency_key="mine")
        await wait.create_token(idempotency_key=IdempotencyKey("ours", scope="global"))

    bench.run(asks)
    bench.run(asks)
    assert [token.idempotency_key for token in bench.tokens] == [
        "run_1:mine", "ours", "run_2:mine",
    ]  # fmt: skip


def test_tokens_are_found_by_what_they_are(bench):
    @task
    async def looks() -> list[list[str]]:
        for tags in (["a"], ["a", "b"], []):
            await wait.create_token(tags=tags)
        await wait.complete_token("waitpoint_1")
        return [
            [token.id[-1] for token in await wait.list_tokens(**filters)]
            for filters in ({}, {"tags": "a"}, {"status": ["COMPLETED"]}, {"most": 1})
        ]

    assert bench.run(looks).output == [["3", "2", "1"], ["2", "1"], ["1"], ["3"]]


# -- Several at once ---------------------------------------------------------------------------


def test_gathered_waits_are_one_suspension_as_long_as_the_longest(bench):
    suspensions = []
    on_wait(lambda: suspensions.append(bench.now))

    @task
    async def gatherer() -> int:
        await asyncio.gather(*(wait.for_(hours=hours) for hours in (3, 1, 2)))
        return 1

    run = bench.run(gatherer)
    assert timedelta(hours=3) <= passed(bench, run) < timedelta(hours=3, minutes=1)
    assert len(suspensions) == 3  # woken by each, and asleep again for the rest


def test_the_first_of_any_decides_and_the_run_goes_on_at_once(bench, child):
    @task
    async def chooser() -> tuple[int, str | None]:
        first = await wait.any_of(
            child.trigger_and_wait("slow"), wait.for_(hours=1), wait.for_token("waitpoint_1")
        )
        return first.index, first.result

    bench.create_token(timeout="7d")
    run = bench.run(chooser)
    assert run.output == [1, None]
    assert passed(bench, run) < timedelta(hours=1, minutes=1)
    bench.settle()
    assert [each.status for each in run.children] == ["COMPLETED"]  # it went on by itself


def test_a_token_that_comes_before_the_deadline_wins(bench):
    @task
    async def chooser(token: str) -> str:
        first = await wait.any_of(wait.for_token(token, str), wait.for_(days=1))
        return first.result.unwrap() if first.index == 0 else "too late"

    token = bench.create_token(timeout="7d")
    run = bench.trigger(chooser, token.id)
    bench.advance(HOUR)
    bench.complete_token(token, "in time")
    bench.settle()
    assert (run.output, passed(bench, run) < timedelta(hours=2)) == ("in time", True)


def test_what_lost_may_be_waited_for_again(bench):
    @task
    async def chooser(token: str) -> list[str]:
        seen = []
        while True:
            first = await wait.any_of(wait.for_token(token, str), wait.for_(hours=1))
            if first.index == 0:
                return [*seen, first.result.unwrap()]
            seen.append("reminded")

    token = bench.create_token(timeout="7d")
    run = bench.trigger(chooser, token.id)
    bench.advance(2.5 * HOUR)
    bench.complete_token(token, "at last")
    bench.settle()
    assert run.output == ["reminded", "reminded", "at last"]


def test_all_is_in_order_and_of_any_kind(bench, child):
    @task
    async def gatherer(token: str) -> list:
        return await wait.all_of(
            wait.for_token(token, str),
            child.trigger_and_wait("a"),
            child.batch_trigger_and_wait(["b", "c"]),
            wait.for_(hours=5),
        )

    token = bench.create_token(timeout="7d")
    run = bench.trigger(gatherer, token.id)
    bench.complete_token(token, "t")
    bench.settle()
    answer, *rest = run.output
    assert (answer["output"], rest) == ("t", ["a", ["b", "c"], None])
    assert passed(bench, run) >= timedelta(hours=5)


@pytest.mark.parametrize("together", [wait.all_of, wait.any_of])
def test_the_first_failure_ends_the_wait_for_the_others(bench, child, together):
    @task(retry=1)
    async def gatherer() -> str:
        with pytest.raises(ChildRunFailed):
            await together(child.trigger_and_wait("bad"), wait.for_(days=1))
        return "told"

    run = bench.run(gatherer)
    assert (run.output, passed(bench, run) < timedelta(hours=3)) == ("told", True)


def test_any_of_nothing_is_an_error_and_all_of_nothing_is_nothing(bench):
    @task
    async def gatherer() -> list:
        with pytest.raises(ValueError, match="something"):
            await wait.any_of()
        return await wait.all_of()

    assert bench.run(gatherer).output == []


def test_any_of_may_be_nested_in_all_of(bench):
    @task
    async def gatherer() -> list[int]:
        async def pair(*hours: int) -> int:
            return (await wait.any_of(*(wait.for_(hours=each) for each in hours))).index

        return await wait.all_of(pair(3, 1), pair(2, 4))

    run = bench.run(gatherer)
    assert run.output == [1, 0]
    assert timedelta(hours=2) <= passed(bench, run) < timedelta(hours=2, minutes=1)


# -- Giving up ---------------------------------------------------------------------------------


def test_who_gives_up_a_wait_goes_on_as_an_executing_run(bench):
    statuses = []

    @task
    async def impatient(token: str) -> str:
        try:
            async with asyncio.timeout(60):
                await wait.for_token(token)
        except TimeoutError:
            statuses.append(run.status)
            await wait.for_(hours=1)
            return "gave up"
        return "answered"

    token = bench.create_token(timeout="7d")
    run = bench.trigger(impatient, token.id)
    bench.settle()
    assert (run.output, statuses) == ("gave up", ["EXECUTING"])
    assert passed(bench, run) >= timedelta(hours=1, minutes=1)


def test_a_canceled_run_waits_no_longer(bench):
    seen = []

    @task
    async def sleeper() -> None:
        try:
            await wait.any_of(wait.for_(days=1), wait.for_(days=2))
        finally:
            seen.append(ctx.canceled.is_set())

    run = bench.trigger(sleeper)
    bench.advance(60)
    bench.cancel(run)
    assert (run.status, seen) == ("CANCELED", [True])


def test_what_is_left_waiting_ends_with_its_run(bench):
    @task
    async def forgetful() -> str:
        left.append(asyncio.ensure_future(wait.for_(days=1)))
        await asyncio.sleep(60)
        return "done"

    left = []
    run = bench.run(forgetful)
    bench.advance(1)
    assert (run.status, left[0].done()) == ("COMPLETED", True)
    left[0].exception()
