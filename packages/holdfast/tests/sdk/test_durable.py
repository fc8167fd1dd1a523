"""Durable tasks: what is recorded, what is replayed, and what happens when the two differ."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

import holdfast
from holdfast import NonDeterminismError, Retry, StepFailed, step, step_sync, task, wait
from holdfast.tasks import registry
from holdfast.testing import Bench, Crash, History, every_crash, replay


@pytest.fixture(autouse=True)
def no_tasks():
    before = list(registry)
    yield
    registry.clear()
    for each in before:
        registry.add(each)


class Done(list):
    """What steps have done, in order."""

    async def note(self, what):
        self.append(what)
        return what

    def plainly(self, what):
        self.append(what)
        return what


@pytest.fixture
def done():
    return Done()


@pytest.fixture
def bench():
    with Bench() as bench:
        yield bench


class TestSteps:
    def test_a_step_returns_what_its_function_returns(self, bench, done):
        @task(durable=True)
        async def order(_: str):
            return [await step(done.note, 1), await step(done.plainly, 2)]

        run = bench.run(order, "x")
        assert (run.output, done) == ([1, 2], [1, 2])
        assert [(e.position, e.kind, e.name) for e in run.journal] == [
            ("1", "step", "note"),
            ("2", "step", "plainly"),
        ]

    def test_steps_are_not_repeated_after_a_wait(self, bench, done):
        @task(durable=True)
        async def order():
            await step(done.note, 1)
            await wait.for_(days=1)
            await step(done.note, 2)
            await wait.for_(days=1)
            return await step(done.note, 3)

        run = bench.run(order)
        assert (run.output, done, run.evictions) == (3, [1, 2, 3], 2)
        assert len(run.attempts) == 1

    def test_a_run_may_stay_in_its_process_while_it_waits(self, done):
        @task(durable=True)
        async def order():
            await step(done.note, 1)
            await wait.for_(days=1)
            return await step(done.note, 2)

        with Bench(evicts=False) as bench:
            run = bench.run(order)
        assert (run.output, done, run.evictions) == (2, [1, 2], 0)

    def test_a_name_and_arguments_are_recorded(self, bench, done):
        @task(durable=True)
        async def order():
            await step(done.note, 1, name="first")
            await step(lambda: 5)

        run = bench.run(order)
        assert [e.name for e in run.journal] == ["first", "<lambda>"]
        assert run.journal[0].digest != run.journal[1].digest

    def test_outside_of_durable_tasks_a_step_is_a_call(self, bench, done):
        @task
        async def order():
            return await step(done.note, 1)

        assert bench.run(order).output == 1
        assert asyncio.run(step(done.note, 2)) == 2

    def test_inside_of_a_step_a_step_is_a_call(self, bench, done):
        async def outer():
            return await step(done.note, 1)

        @task(durable=True)
        async def order():
            return await step(outer)

        run = bench.run(order)
        assert (run.output, run.steps) == (1, ["outer"])

    def test_a_step_may_not_wait(self, bench):
        async def waits():
            await wait.for_(seconds=1)

        @task(durable=True, retry=1)
        async def order():
            await step(waits)

        run = bench.run(order)
        assert (run.status, run.error["message"]) == (
            "FAILED",
            "a step may not wait: it is one unit; wait between steps",
        )

    def test_plain_tasks_have_steps(self, bench, done):
        @task(durable=True)
        def order():
            step_sync(done.plainly, 1)
            wait.for_sync(days=1)
            return step_sync(done.plainly, 2)

        run = bench.run(order)
        assert (run.output, done, run.evictions) == (2, [1, 2], 1)

    def test_map_returns_in_the_order_of_the_items(self, bench):
        async def slow(item):
            await asyncio.sleep(10 - item)
            return item * 10

        @task(durable=True)
        async def order():
            found = await step.map(slow, range(5), concurrency=3)
            await wait.for_(days=1)
            return found

        assert bench.run(order).output == [0, 10, 20, 30, 40]

    def test_map_keeps_to_its_concurrency(self, bench):
        at_once, most = 0, 0

        async def slow(item):
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(1)
            at_once -= 1

        @task(durable=True)
        async def order():
            await step.map(slow, range(9), concurrency=4)

        bench.run(order)
        assert most == 4
        with pytest.raises(ValueError, match="at least 1"):
            asyncio.run(step.map(slow, [1], concurrency=0))


class TestErrors:
    def test_an_error_is_the_same_when_it_is_replayed(self, bench):
        calls = []

        async def charge():
            calls.append(1)
            raise LookupError("no card")

        @task(durable=True)
        async def order():
            try:
                await step(charge)
            except LookupError as error:
                await wait.for_(days=1)
                return repr(error)

        run = bench.run(order)
        assert (run.output, calls) == ("LookupError('no card')", [1])

    def test_what_cannot_be_made_again_is_a_step_failure_from_the_start(self, bench):
        class Odd(Exception):
            def __init__(self, *, code):
                super().__init__(f"code {code}")

        async def charge():
            raise Odd(code=7)

        @task(durable=True)
        async def order():
            try:
                await step(charge)
            except StepFailed as error:
                return error.name, error.error["name"], str(error)

        assert bench.run(order).output == ["charge", "Odd", "charge: Odd: code 7"]

    def test_a_step_has_its_own_retries(self, bench):
        calls = []

        async def charge():
            calls.append(1)
            if len(calls) < 3:
                raise OSError("down")
            return len(calls)

        @task(durable=True)
        async def order():
            return await step(charge, retry=Retry(attempts=3, min_delay=1, jitter=False))

        run = bench.run(order)
        assert (run.output, len(run.attempts)) == (3, 1)
        assert run.journal[0].attempts == 3

    def test_a_retry_of_the_run_begins_at_the_step_that_failed(self, bench, done):
        calls = []

        async def flaky():
            calls.append(1)
            if len(calls) < 3:
                raise OSError("down")
            return "ok"

        @task(durable=True)
        async def order():
            await step(done.note, 1)
            answer = await step(flaky)
            await step(done.note, 2)
            return answer

        run = bench.run(order)
        assert (run.output, done, len(calls), len(run.attempts)) == ("ok", [1, 2], 3, 3)

    def test_what_cleaned_up_after_a_failure_is_done_again_too(self, bench, done):
        calls = []

        async def flaky():
            calls.append(1)
            if len(calls) < 2:
                raise OSError("down")
            return "ok"

        @task(durable=True)
        async def order():
            try:
                return await step(flaky)
            except OSError:
                await step(done.note, "undone")
                raise

        run = bench.run(order)
        assert (run.output, done) == ("ok", ["undone"])

    def test_a_failure_that_was_dealt_with_stays(self, bench, done):
        calls, failures = [], []

        async def broken():
            calls.append(1)
            raise OSError("down")

        @task(durable=True)
        async def order():
            try:
                await step(broken)
            except OSError:
                await step(done.note, "instead")
            failures.append(1)
            if len(failures) < 2:
                raise ValueError("in the function itself")
            return "ok"

        run = bench.run(order)
        assert (run.output, calls, done) == ("ok", [1], ["instead"])

    def test_a_long_pause_between_tries_holds_no_process(self, bench):
        tries = []

        async def call():
            tries.append(bench.now)
            if len(tries) < 4:
                raise OSError("busy")
            return "answered"

        @task(durable=True)
        async def order():
            return await step(
                call, retry=Retry(attempts=5, min_delay=3_600, max_delay=3_600, jitter=False)
            )

        run = bench.trigger(order)
        bench.advance(1_800)
        assert (run.status, run.evictions) == ("WAITING", 1)
        bench.settle()
        assert (run.output, len(tries), run.evictions) == ("answered", 4, 3)
        assert [entry.attempts for entry in run.journal if entry.kind == "step"] == [4]
        hours = [round((later - tries[0]).total_seconds() / 3_600) for later in tries]
        assert hours == [0, 1, 2, 3]

    def test_the_tries_of_a_step_are_counted_over_its_pauses(self, bench):
        tries = []

        async def call():
            tries.append(1)
            raise OSError("down")

        @task(durable=True, retry=Retry(attempts=2, min_delay=1))
        async def order():
            await step(
                call, retry=Retry(attempts=3, min_delay=3_600, max_delay=3_600, jitter=False)
            )

        run = bench.run(order)
        assert (run.status, len(run.attempts)) == ("FAILED", 2)
        assert len(tries) == 2 * 3  # a new attempt of the run begins to count anew

    def test_others_go_on_while_a_step_pauses(self, bench):
        failures = [OSError("busy")]

        async def call():
            if failures:
                raise failures.pop()
            return "late"

        async def note(word):
            return word

        @task(durable=True)
        async def order():
            async def waits():
                await wait.for_(minutes=10)
                return await step(note, "meanwhile")

            return await asyncio.gather(
                step(call, retry=Retry(attempts=2, min_delay=3_600, max_delay=3_600, jitter=False)),
                waits(),
            )

        run = bench.run(order)
        assert run.output == ["late", "meanwhile"]
        assert run.finished_at - run.created_at >= timedelta(hours=1)

    def test_a_crash_around_a_pause_repeats_a_try_at_most(self):
        tries = []

        async def call():
            tries.append(1)
            if len(tries) % 3:
                raise OSError("busy")
            return "answered"

        @task(durable=True, retry=Retry(attempts=3, min_delay=1))
        async def order():
            return await step(
                call, retry=Retry(attempts=6, min_delay=3_600, max_delay=3_600, jitter=False)
            )

        for run in every_crash(order):
            assert run.output == "answered"

    def test_a_step_that_takes_too_long_times_out(self, bench):
        @task(durable=True)
        async def order():
            try:
                await step(asyncio.sleep, 60, timeout=5)
            except TimeoutError as error:
                await wait.for_(days=1)
                return type(error).__name__, str(error)

        assert bench.run(order).output == ["StepTimedOut", "sleep took longer than 5 s"]


class TestWorldOutside:
    def test_moments_and_chance_are_recorded(self, bench):
        seen = []

        @task(durable=True)
        async def order():
            drawn = [holdfast.now(), holdfast.random(), str(holdfast.uuid())]
            seen.append(drawn)
            await wait.for_(days=1)
            return drawn[1]

        run = bench.run(order)
        assert seen[0] == seen[1]
        assert 0 <= run.output < 1
        assert [e.kind for e in run.journal[:3]] == ["now", "random", "uuid"]

    def test_chance_differs_between_places_and_runs(self, bench):
        @task(durable=True)
        async def order():
            return [holdfast.random(), holdfast.random(), str(holdfast.uuid())]

        first, second = bench.run(order).output, bench.run(order).output
        assert len({*first, *second}) == 6

    def test_outside_of_runs_they_are_what_they_are(self):
        assert abs(holdfast.now() - datetime.now(UTC)) < timedelta(minutes=1)
        assert holdfast.uuid() != holdfast.uuid()
        assert 0 <= holdfast.random() < 1
        assert holdfast.patched("anything")

    def test_children_start_once(self, bench):
        @task
        async def child(name: str) -> str:
            return f"hello {name}"

        @task(durable=True)
        async def order():
            first = await child.trigger_and_wait("alice")
            second, third = await asyncio.gather(
                child.trigger_and_wait("bob"), child.trigger_and_wait("charlie")
            )
            both = await child.batch_trigger_and_wait(["x", "y"])
            await child.trigger("later")
            return [first, second, third, *both]

        run = bench.run(order)
        assert run.output == [f"hello {n}" for n in ("alice", "bob", "charlie", "x", "y")]
        assert len(run.children) == 6

    def test_a_child_that_failed_is_tried_anew_by_the_retry(self, bench):
        tries = []

        @task(retry=1)
        async def child() -> str:
            tries.append(1)
            if len(tries) < 2:
                raise OSError("down")
            return "ok"

        @task(durable=True)
        async def order():
            return await child.trigger_and_wait()

        run = bench.run(order)
        assert (run.output, len(run.children), len(run.attempts)) == ("ok", 2, 2)

    def test_only_the_failed_of_a_batch_are_tried_anew(self, bench):
        tries = []

        @task(retry=1)
        async def child(n: int) -> int:
            tries.append(n)
            if n == 2 and tries.count(2) < 2:
                raise OSError("down")
            return n

        @task(durable=True)
        async def order():
            return await child.batch_trigger_and_wait([1, 2, 3])

        assert bench.run(order).output == [1, 2, 3]
        assert sorted(tries) == [1, 2, 2, 3]

    def test_tokens_are_made_once(self, bench):
        @task(durable=True)
        async def order():
            token = await wait.create_token(timeout="1d")
            answer = await wait.for_token(token)
            return answer.output

        bench.answer_tokens(lambda token: "yes")
        run = bench.run(order)
        assert (run.output, run.evictions, len(bench.tokens)) == ("yes", 1, 1)

    def test_the_first_of_several_waits_is_the_first_again(self, bench, done):
        @task(durable=True)
        async def order():
            token = await wait.create_token(timeout="10d")
            first = await wait.any_of(wait.for_(days=2), wait.for_token(token), wait.for_(days=1))
            await step(done.note, first.index)
            await wait.for_(days=20)
            return first.index

        run = bench.run(order)
        assert (run.output, done) == (2, [2])

    def test_lines_are_logged_once(self, bench, done):
        @task(durable=True)
        async def order():
            holdfast.logger.info("begun")
            await step(done.note, 1)
            await wait.for_(days=1)
            holdfast.logger.info("going on")

        assert bench.run(order).messages == ["begun", "going on"]

    def test_metadata_is_changed_once(self, bench, done):
        @task(durable=True)
        async def order():
            holdfast.metadata.increment("count")
            await step(done.note, 1)
            await wait.for_(days=1)
            holdfast.metadata.increment("count")

        assert bench.run(order).metadata == {"count": 2}

    def test_hooks_are_told_of_going_on(self, bench):
        told = []

        @task(durable=True)
        async def order():
            await wait.for_(days=1)

        order.on_start(lambda: told.append("start"))
        order.on_wait(lambda: told.append("wait"))
        order.on_resume(lambda: told.append("resume"))
        order.on_success(lambda: told.append("success"))
        bench.run(order)
        assert told == ["start", "wait", "resume", "success"]

    def test_blocks_are_left_when_a_run_leaves_its_process(self, bench):
        told = []

        @task(durable=True)
        async def order():
            try:
                await wait.for_(days=1)
            except Exception:
                told.append("caught")
            finally:
                told.append("left")

        bench.run(order)
        assert told == ["left", "left"]

    def test_execution_time_counts_once_and_ends_the_run(self, bench, done):
        @task(durable=True, max_duration=100)
        async def order():
            await step(asyncio.sleep, 60)
            await wait.for_(days=1)
            await step(asyncio.sleep, 60)

        assert bench.run(order).status == "TIMED_OUT"

        @task(durable=True, max_duration=130)
        async def longer():
            await step(asyncio.sleep, 60)
            await wait.for_(days=1)
            await step(asyncio.sleep, 60)

        assert bench.run(longer).status == "COMPLETED"

    def test_a_waiting_run_can_be_canceled(self, bench):
        @task(durable=True)
        async def order():
            await wait.for_(days=100)

        run = bench.trigger(order)
        bench.advance(days_1)
        bench.cancel(run)
        assert run.status == "CANCELED"


days_1 = timedelta(days=1)


class TestOrder:
    def test_coroutines_beside_each_other_count_on_their_own(self, bench, done):
        async def chain(name, seconds):
            for number in range(3):
                await step(asyncio.sleep, seconds, name="sleep")
                await step(done.note, f"{name}{number}")
            return name

        @task(durable=True)
        async def order():
            found = await asyncio.gather(chain("a", 3), chain("b", 2), chain("c", 1))
            await wait.for_(days=1)
            return found

        run = bench.run(order)
        assert run.output == ["a", "b", "c"]
        assert len(done) == len(set(done)) == 9
        assert {e.position for e in run.journal if e.name == "note"} == {
            f"{branch}.{number}" for branch in (1, 2, 3) for number in (2, 4, 6)
        }

    def test_who_was_first_is_first_again(self, bench, done):
        async def slow(seconds):
            await asyncio.sleep(seconds)
            return seconds

        @task(durable=True)
        async def order():
            tasks = [asyncio.ensure_future(step(slow, seconds)) for seconds in (5, 1, 3)]
            ended = []
            for each in asyncio.as_completed(tasks):
                ended.append(await each)
                await step(done.note, ended[-1])
            await wait.for_(days=1)
            return ended

        run = bench.run(order)
        assert (run.output, done) == ([1, 3, 5], [1, 3, 5])

    def test_results_of_the_same_moment_come_one_at_a_time(self, bench, done):
        async def slow(name):
            await asyncio.sleep(1)
            return name

        @task(durable=True)
        async def order():
            tasks = {asyncio.ensure_future(step(slow, name)) for name in "abc"}
            sizes = []
            while tasks:
                ended, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                sizes.append(len(ended))
            await wait.for_(days=1)
            return sizes

        assert bench.run(order).output == [1, 1, 1]


class TestDifferences:
    def broken(self, before, after, **options):
        """A run that waited with some code, and goes on with other code."""
        registry.add(task(id="order", durable=True)(before))
        with Bench() as bench:
            run = bench.trigger("order")
            bench.advance(1)
            registry.clear()
            registry.add(task(id="order", durable=True)(after))
            return run.history()

    def test_a_changed_step_is_refused_with_both_sides(self, done):
        async def before():
            await step(done.note, 1, name="charge")
            await wait.for_(days=1)

        async def after():
            await step(done.note, 1, name="refund")
            await wait.for_(days=1)

        history = self.broken(before, after)
        with pytest.raises(NonDeterminismError) as caught:
            replay(history)
        assert caught.value.position == "1"
        assert caught.value.recorded.startswith("step 'charge'")
        assert caught.value.found.startswith("step 'refund'")

    def test_changed_arguments_are_refused(self, done):
        async def before():
            await step(done.note, 1)
            await wait.for_(days=1)

        async def after():
            await step(done.note, 2)
            await wait.for_(days=1)

        with pytest.raises(NonDeterminismError, match="with arguments"):
            replay(self.broken(before, after))

    def test_a_step_that_was_taken_out_is_refused(self, done):
        async def before():
            await step(done.note, 1)

        async def after():
            return None

        with pytest.raises(NonDeterminismError, match="the code:    nothing"):
            replay(self.broken(before, after))

    def test_a_step_after_the_end_is_refused(self, done):
        async def before():
            await step(done.note, 1)

        async def after():
            await step(done.note, 1)
            await step(done.note, 2)

        with pytest.raises(NonDeterminismError, match="the journal: nothing"):
            replay(self.broken(before, after))

    def test_the_same_code_is_replayed_without_doing_anything(self, done):
        async def before():
            await step(done.note, 1)
            await wait.for_(days=1)
            await step(done.note, 2)

        history = self.broken(before, before)
        done.clear()
        replay(history)
        assert done == []

    def test_a_patch_lets_old_runs_finish_their_way(self, done):
        async def before():
            await step(done.note, "old")
            await wait.for_(days=1)
            await step(done.note, "end")

        async def after():
            if holdfast.patched("new way"):
                await step(done.note, "new")
            await step(done.note, "old")
            await wait.for_(days=1)
            await step(done.note, "end")

        replay(self.broken(before, after))
        with Bench() as bench:
            done.clear()
            assert bench.run("order").status == "COMPLETED"
        assert done == ["new", "old", "end"]

    def test_a_difference_ends_the_run_whatever_the_code_catches(self, bench, done):
        which = ["one"]

        @task(durable=True, retry=5)
        async def order():
            try:
                await step(done.note, 1, name=which[0])
                which[0] = "two"
                await wait.for_(days=1)
            except Exception:
                return "fine"

        run = bench.run(order)
        assert (run.status, run.error["name"]) == ("FAILED", "NonDeterminismError")
        assert len(run.attempts) == 1

    def test_a_history_travels_as_a_file(self, bench, done, tmp_path):
        @task(durable=True)
        async def order(n: int):
            await step(done.note, n)

        run = bench.run(order, 3)
        run.history().save(tmp_path / "history.json")
        again = History.load(tmp_path / "history.json")
        assert again == run.history()
        replay(again)

    def test_a_task_that_is_gone_is_named(self, bench, done):
        @task(durable=True)
        async def order():
            await step(done.note, 1)

        history = bench.run(order).history()
        registry.clear()
        with pytest.raises(LookupError, match="order"):
            replay(history)


class TestCrashes:
    def test_a_crash_before_the_record_repeats_the_step(self, done):
        @task(durable=True)
        async def order():
            await step(done.note, 1)
            return await step(done.note, 2, strict=True)

        with Bench(crash=Crash(1, "before")) as bench:
            run = bench.run(order)
        assert (run.output, done) == (2, [1, 1, 2])
        assert [a.ending for a in run.attempts] == ["crashed", "completed"]

    def test_a_crash_after_the_record_repeats_nothing(self, done):
        @task(durable=True)
        async def order():
            await step(done.note, 1)
            return await step(done.note, 2, strict=True)

        with Bench(crash=Crash(1, "after")) as bench:
            run = bench.run(order)
        assert (run.output, done) == (2, [1, 2])

    def test_every_crash_ends_with_the_same_result(self, done):
        @task
        async def child(n: int) -> int:
            return n * 10

        @task(durable=True)
        async def order():
            first = await step(done.note, 1)
            found = await asyncio.gather(step(done.note, 2), child.trigger_and_wait(3))
            await wait.for_(days=1)
            return [first, *found, await step(done.note, 4)]

        outputs = []
        for run in every_crash(order):
            outputs.append(run.output)
            assert len(run.children) == 1
        assert len(outputs) == 1 + 2 * 7
        assert all(output == [1, 2, 30, 4] for output in outputs)
