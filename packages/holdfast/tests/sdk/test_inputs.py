"""Inputs on the bench: what is sent to a run while it is open, taken once and in order."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pydantic
import pytest

from holdfast import Abort, InputInvalid, InputTimedOut, Retry, step, task, wait
from holdfast.testing import Bench, every_crash

HOUR = 3_600


class Approval(pydantic.BaseModel):
    approved: bool
    by: str = "nobody"


@pytest.fixture
def bench():
    with Bench() as made:
        yield made


@pytest.fixture(autouse=True)
def clean(empty_registry):
    return empty_registry


@pytest.fixture(params=[False, True], ids=["held", "durable"])
def durable(request):
    """Whether the tasks of a test are journaled; both kinds take inputs alike."""
    return request.param


def test_a_run_waits_until_something_is_sent(bench, durable):
    @task(durable=durable)
    async def publish() -> str:
        answer = await wait.for_input("approval", Approval)
        return answer.unwrap().by

    run = bench.trigger(publish)
    bench.advance(HOUR)
    assert run.status == "WAITING"

    bench.send_input(run, "approval", {"approved": True, "by": "alice"})
    bench.settle()
    assert (run.status, run.output) == ("COMPLETED", "alice")


def test_items_come_once_and_in_order_also_those_from_before_the_wait(bench, durable):
    @task(durable=durable)
    async def chat() -> list[str]:
        said = []
        while not said or said[-1] != "bye":
            said.append((await wait.for_input("message")).unwrap())
        return said

    run = bench.trigger(chat)
    for word in ("hello", "hello"):
        bench.send_input(run, "message", word)
    bench.advance(HOUR)
    for word in ("how are you", "bye", "one too many"):
        bench.send_input(run, "message", word)
    bench.settle()
    assert run.output == ["hello", "hello", "how are you", "bye"]


def test_inputs_of_other_names_are_others(bench, durable):
    @task(durable=durable)
    async def pair() -> list[str]:
        return [(await wait.for_input(key)).unwrap() for key in ("a", "b")]

    run = bench.trigger(pair)
    bench.send_input(run, "b", "second")
    bench.advance(HOUR)
    assert run.status == "WAITING"
    bench.send_input(run, "a", "first")
    bench.settle()
    assert run.output == ["first", "second"]


def test_nothing_in_time_is_an_answer_too(bench, durable):
    @task(durable=durable)
    async def patient() -> list[str | bool]:
        late = await wait.for_input("approval", timeout="1h")
        assert isinstance(late.error, InputTimedOut)
        with pytest.raises(InputTimedOut, match="'approval'"):
            late.unwrap()
        return [late.ok, (await wait.for_input("approval")).unwrap()]

    run = bench.trigger(patient)
    bench.advance(HOUR + 1)
    assert run.status == "WAITING"
    bench.send_input(run, "approval", "late")  # is for the next wait
    bench.settle()
    assert run.output == [False, "late"]


def test_an_item_that_is_there_wins_over_a_time_that_is_over(bench, durable):
    @task(durable=durable)
    async def late() -> str:
        await wait.for_(hours=2)
        return (await wait.for_input("approval", timeout=-1)).unwrap()

    run = bench.trigger(late)
    bench.send_input(run, "approval", "in time")
    bench.settle()
    assert run.output == "in time"


def test_gathered_waits_take_one_item_each_in_their_order(bench, durable):
    @task(durable=durable)
    async def crowd() -> list[str]:
        found = await asyncio.gather(*(wait.for_input("word") for _ in range(3)))
        return [each.unwrap() for each in found]

    run = bench.trigger(crowd)
    for word in ("a", "b", "c"):
        bench.advance(60)
        bench.send_input(run, "word", word)
    bench.settle()
    assert run.output == ["a", "b", "c"]


def test_who_waits_longer_gets_what_came_after_another_gave_up(bench, durable):
    @task(durable=durable)
    async def two() -> list[object]:
        short = wait.for_input("word", timeout="1m")
        long = wait.for_input("word", timeout="2h")
        return [each.output for each in await asyncio.gather(short, long)]

    run = bench.trigger(two)
    bench.advance(HOUR)
    bench.send_input(run, "word", "only")
    bench.settle()
    assert run.output == [None, "only"]


@pytest.mark.parametrize("first", ["a", "b"])
def test_the_first_of_several_inputs_leaves_the_others_their_items(bench, durable, first):
    @task(durable=durable)
    async def either() -> list[object]:
        waits = [wait.for_input("a"), wait.for_input("b")]
        won = await wait.any_of(*waits)
        other = await wait.for_input("b" if won.index == 0 else "a", timeout="1m")
        return [won.index, won.result.unwrap(), other.output]

    run = bench.trigger(either)
    bench.send_input(run, first, f"to {first}")
    bench.settle()
    assert run.output == ["ab".index(first), f"to {first}", None]


def test_items_that_come_at_the_same_moment_are_not_lost(bench, durable):
    @task(durable=durable)
    async def either() -> list[str]:
        won = await wait.any_of(wait.for_input("a"), wait.for_input("b"))
        other = await wait.for_input("b" if won.index == 0 else "a")
        return [won.result.unwrap(), other.unwrap()]

    run = bench.trigger(either)
    bench.send_input(run, "a", "to a")
    bench.send_input(run, "b", "to b")
    bench.settle()
    assert sorted(run.output) == ["to a", "to b"]


def test_a_time_that_wins_leaves_the_item_for_later(bench, durable):
    @task(durable=durable)
    async def reminded() -> list[object]:
        reminders = 0
        while (won := await wait.any_of(wait.for_input("done"), wait.for_(hours=1))).index:
            reminders += 1
        return [reminders, won.result.unwrap()]

    run = bench.trigger(reminded)
    bench.advance(2.5 * HOUR)
    bench.send_input(run, "done", "at last")
    bench.settle()
    assert run.output == [2, "at last"]


def test_a_wait_that_is_given_up_takes_nothing(bench):
    @task
    async def impatient() -> str:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60):
                await wait.for_input("word")
        await wait.for_(hours=1)
        return (await wait.for_input("word")).unwrap()

    run = bench.trigger(impatient)
    bench.advance(HOUR / 2)
    bench.send_input(run, "word", "kept")
    bench.settle()
    assert run.output == "kept"


def test_what_does_not_fit_the_type_is_refused_and_taken(bench, durable):
    @task(durable=durable)
    async def strict() -> str:
        with pytest.raises(InputInvalid) as refusal:
            await wait.for_input("approval", Approval)
        assert refusal.value.errors[0]["path"] == "approved"
        return (await wait.for_input("approval", Approval)).unwrap().by

    run = bench.trigger(strict)
    bench.send_input(run, "approval", {"by": "bob"})
    bench.send_input(run, "approval", {"approved": False, "by": "alice"})
    bench.settle()
    assert run.output == "alice"

    @task(durable=durable, retry=3)
    async def stricter() -> None:
        await wait.for_input("approval", Approval)

    run = bench.trigger(stricter)
    bench.send_input(run, "approval", "yes")
    bench.settle()
    assert (run.status, len(run.attempts)) == ("FAILED", 1)  # never retried


def test_a_new_attempt_begins_with_the_first_item_again(bench):
    @task(retry=Retry(attempts=2, min_delay=1))
    async def flaky() -> list[str]:
        said = [(await wait.for_input("message")).unwrap() for _ in range(2)]
        if len(run.attempts) == 0:
            raise RuntimeError("once")
        return said

    run = bench.trigger(flaky)
    bench.send_input(run, "message", "a")
    bench.send_input(run, "message", "b")
    bench.settle()
    assert (len(run.attempts), run.output) == (2, ["a", "b"])


def test_a_new_attempt_of_a_durable_run_goes_on_with_the_next_item(bench):
    failures = [RuntimeError("once")]

    async def use(word: str) -> str:
        if word == "b" and failures:
            raise failures.pop()
        return word.upper()

    @task(durable=True, retry=Retry(attempts=2, min_delay=1))
    async def careful() -> list[str]:
        return [await step(use, (await wait.for_input("word")).unwrap()) for _ in range(2)]

    run = bench.trigger(careful)
    bench.send_input(run, "word", "a")
    bench.send_input(run, "word", "b")
    bench.settle()
    assert (len(run.attempts), run.output) == (2, ["A", "B"])


def test_a_crash_anywhere_neither_loses_an_item_nor_takes_it_twice():
    async def note(word: str) -> str:
        return word

    @task(durable=True)
    async def chat() -> list[str]:
        said = []
        for _ in range(2):
            won = await wait.any_of(wait.for_input("left"), wait.for_input("right"))
            said.append(await step(note, won.result.unwrap()))
        return said

    def prepare(bench: Bench) -> None:
        bench.answer_inputs(lambda run, key: key, after=timedelta(minutes=5))

    ends = [sorted(run.output) for run in every_crash(chat, prepare=prepare)]
    assert len(ends) > 4
    assert {tuple(end) for end in ends} == {("left", "right")}


def test_plain_tasks_wait_for_input_too(bench):
    @task
    def plain() -> str:
        return wait.for_input_sync("word").unwrap()

    run = bench.trigger(plain)
    bench.send_input(run, "word", "plain")
    bench.settle()
    assert run.output == "plain"


def test_a_step_may_not_wait_for_input(bench):
    @task(durable=True)
    async def wrong() -> None:
        await step(wait.for_input, "word")

    run = bench.run(wrong)
    assert run.status == "FAILED"
    assert "a step may not wait" in run.error["message"]


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_a_name_that_cannot_be_is_refused(bench, key):
    @task(retry=1)
    async def misnamed() -> None:
        await wait.for_input(key)

    assert "1 to 255 characters" in bench.run(misnamed).error["message"]


def test_a_run_that_has_ended_takes_no_input(bench):
    @task
    async def short() -> None:
        raise Abort("no")

    with pytest.raises(ValueError, match="has ended"):
        bench.send_input(bench.run(short), "word")
