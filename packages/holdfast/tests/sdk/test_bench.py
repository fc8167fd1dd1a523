"""Tasks on the bench: the rules of a run, without a server and without waiting."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from holdfast import (
    Abort,
    ChildRunFailed,
    IdempotencyKey,
    Retry,
    RunCanceled,
    ctx,
    item,
    logger,
    metadata,
    middleware,
    on_start,
    tags,
    task,
    trigger,
    trigger_and_wait,
)
from holdfast.testing import Bench, Stuck
from holdfast.triggering import batch_trigger_and_wait


@pytest.fixture
def bench():
    with Bench() as made:
        yield made


def test_a_retry_in_an_hour_takes_no_time(bench):
    @task(retry=Retry(attempts=3, min_delay=3600, max_delay=3600, jitter=False))
    async def flaky() -> int:
        if ctx.attempt.number < 3:
            raise ConnectionError("again")
        return ctx.attempt.number

    start = bench.now
    run = bench.run(flaky)
    assert (run.status, run.output) == ("COMPLETED", 3)
    assert [attempt.ending for attempt in run.attempts] == ["failed", "failed", "completed"]
    assert bench.now - start == timedelta(hours=2)


def test_a_failure_has_its_error(bench):
    @task(retry=1)
    async def broken() -> None:
        raise ValueError("no")

    run = bench.run(broken)
    assert run.status == "FAILED"
    assert run.error["name"] == "ValueError"
    assert "test_bench.py" in run.error["stackTrace"]
    with pytest.raises(ChildRunFailed, match="ValueError: no"):
        run.result()


def test_an_abort_ends_the_run_at_once(bench):
    @task(retry=5)
    async def hopeless() -> None:
        raise Abort("never")

    assert len(bench.run(hopeless).attempts) == 1


def test_a_rule_that_raises_ends_the_run_with_its_own_error(bench):
    def rule(error, attempt):
        raise KeyError("bug in the rule")

    @task(retry=Retry(rule=rule))
    async def broken() -> None:
        raise ValueError

    run = bench.run(broken)
    assert (len(run.attempts), run.error["name"]) == (1, "KeyError")


def test_a_plain_function_sees_the_context_in_its_thread(bench):
    @task
    def plain(n: int) -> str:
        logger.info("here", n=n)
        return f"{ctx.run.id} {ctx.task.id} {ctx.environment.type}"

    run = bench.run(plain, 1)
    assert run.output == f"{run.id} plain DEVELOPMENT"
    assert run.logs[0]["attributes"] == {"n": 1}


def test_hooks_run_in_order_and_around_them_the_middleware(bench):
    heard = []

    @middleware
    async def outer(proceed):
        heard.append("outer in")
        result = await proceed()
        heard.append("outer out")
        return result

    @on_start
    def everywhere(payload):
        heard.append(f"start {payload}")

    @task
    async def work(n: int) -> int:
        heard.append("work")
        return n

    @work.on_start
    async def here(ctx):
        heard.append(f"start {ctx.task.id}")

    @work.on_success
    def success(output):
        heard.append(f"success {output}")

    @work.on_complete
    def complete():
        heard.append("complete")

    bench.run(work, 7)
    assert heard == [
        "outer in", "start 7", "start work", "work", "outer out", "success 7", "complete",
    ]  # fmt: skip


def test_on_failure_runs_once_after_the_last_attempt(bench):
    heard = []

    @task(retry=3)
    async def broken() -> None:
        raise ValueError(ctx.attempt.number)

    @broken.on_failure
    def failed(error):
        heard.append(str(error))

    bench.run(broken)
    assert heard == ["3"]


def test_a_hook_that_raises_changes_nothing_but_on_start(bench):
    @task(retry=1)
    async def work() -> str:
        return "done"

    @work.on_success
    def success():
        raise ValueError("ignored")

    assert bench.run(work).output == "done"

    @work.on_start
    def start():
        raise ValueError("counts")

    assert bench.run(work).error["message"] == "counts"


def test_a_hook_that_wants_something_unknown_is_refused():
    with pytest.raises(TypeError, match="wants nonsense"):

        @on_start
        def hook(nonsense): ...


def test_gathered_children_run_and_wait_together(bench):
    waits = []

    @task
    async def child(n: int) -> int:
        await asyncio.sleep(60 * n)
        metadata.parent.increment("done")
        return n * n

    @task
    async def parent(n: int) -> list[int]:
        return await asyncio.gather(*(child.trigger_and_wait(i) for i in range(n)))

    @parent.on_wait
    def waits_now():
        waits.append("wait")

    @parent.on_resume
    def goes_on():
        waits.append("resume")

    run = bench.run(parent, 3)
    assert run.output == [0, 1, 4]
    assert run.metadata == {"done": 3}
    assert waits == ["wait", "resume"] * 3
    assert [child.parent for child in run.children] == [run, run, run]


def test_a_child_started_while_the_parent_waits_is_waited_for_too(bench):
    @task
    async def child(minutes: int) -> int:
        await asyncio.sleep(60 * minutes)
        return minutes

    @task
    async def parent() -> float:
        async def later() -> float:
            await asyncio.sleep(5)
            await child.trigger_and_wait(1)
            return asyncio.get_running_loop().time()

        long = asyncio.create_task(child.trigger_and_wait(600))
        seen = await later()
        await long
        return seen

    assert bench.run(parent).output == pytest.approx(65, abs=1)


def test_a_failed_child_raises_in_its_parent(bench):
    @task(retry=1)
    async def child() -> None:
        raise ValueError("no")

    @task(retry=1)
    async def parent() -> str:
        try:
            await child.trigger_and_wait()
        except ChildRunFailed as failure:
            return f"{failure.task_id} {failure.error['name']}"
        return "?"

    assert bench.run(parent).output == "child ValueError"


def test_a_batch_returns_results_in_order_or_failures_on_request(bench):
    @task(retry=1)
    async def child(n: int) -> int:
        if n == 2:
            raise ValueError(n)
        return n

    @task(retry=1)
    async def lenient() -> list[str]:
        results = await child.batch_trigger_and_wait([1, 2, 3], return_exceptions=True)
        return [type(result).__name__ for result in results]

    @task(retry=1)
    async def strict() -> list[int]:
        return await batch_trigger_and_wait([item("child", n) for n in (1, 2)])

    assert bench.run(lenient).output == ["int", "ChildRunFailed", "int"]
    assert bench.run(strict).error["name"] == "ChildRunFailed"


def test_a_plain_task_waits_with_the_sync_twins(bench):
    @task
    def child(n: int) -> int:
        return n + 1

    @task
    def parent() -> list[int]:
        return [child.trigger_and_wait_sync(1, delay=60), *child.batch_trigger_and_wait_sync([2])]

    assert bench.run(parent).output == [2, 3]


def test_a_sync_twin_on_the_event_loop_says_what_to_do(bench):
    @task(retry=1)
    async def wrong() -> None:
        wrong.trigger_sync()

    assert "await" in bench.run(wrong).error["message"]


def test_a_key_starts_one_run_per_scope(bench):
    @task
    async def child() -> None: ...

    @task(retry=Retry(attempts=2, min_delay=0))
    async def parent() -> None:
        for scope in ("run", "attempt", "global"):
            await child.trigger(idempotency_key=IdempotencyKey("k", scope))
        if ctx.attempt.number == 1:
            raise ValueError

    bench.run(parent)
    bench.run(parent)
    assert len([run for run in bench.runs if run.task == "child"]) == 2 + 4 + 1


def test_cancelling_reaches_the_code_and_the_children(bench):
    heard = []

    @task
    async def child() -> None:
        await asyncio.sleep(3600)

    @task
    async def parent() -> None:
        try:
            await child.trigger_and_wait()
        finally:
            heard.append("cleaned up")

    @parent.on_cancel
    def canceled():
        heard.append("on_cancel")

    run = bench.trigger(parent)
    bench.advance(60)
    assert run.status == "WAITING"
    bench.cancel(run, reason="enough")
    assert (run.status, run.children[0].status) == ("CANCELED", "CANCELED")
    assert heard == ["cleaned up", "on_cancel"]
    assert run.error["code"] == "TASK_RUN_CANCELLED"


def test_a_plain_task_that_waits_is_told_of_its_cancellation(bench):
    heard = []

    @task
    async def child() -> None:
        await asyncio.sleep(3600)

    @task
    def parent() -> None:
        try:
            child.trigger_and_wait_sync()
        except RunCanceled:
            heard.append(ctx.canceled.is_set())
            raise

    run = bench.trigger(parent)
    bench.advance(1)
    bench.cancel(run)
    assert run.status == "CANCELED"
    assert heard == [True]


def test_max_duration_counts_execution_and_not_waits(bench):
    @task
    async def child() -> None:
        await asyncio.sleep(3600)

    @task(max_duration=10)
    async def parent(seconds: float) -> None:
        await child.trigger_and_wait()
        await asyncio.sleep(seconds)

    assert bench.run(parent, 5.0).status == "COMPLETED"
    over = bench.run(parent, 15.0)
    assert over.status == "TIMED_OUT"
    assert over.error["code"] == "MAX_DURATION_EXCEEDED"


def test_a_delay_is_turned_to(bench):
    @task
    async def later() -> None: ...

    run = bench.trigger(later, delay="1h30m")
    assert bench.trigger(later, delay=timedelta(hours=2)).options["delay"] == timedelta(hours=2)
    bench.advance(timedelta(minutes=89))
    assert run.status == "DELAYED"
    bench.advance(timedelta(minutes=2))
    assert run.status == "COMPLETED"
    bench.settle()
    assert all(run.is_final for run in bench.runs)


def test_tags_and_metadata_are_kept(bench):
    @task
    async def tagged() -> dict:
        await tags.add("a", "b")
        metadata.set("$.progress.percent", 50)
        metadata.append("log", "x")
        return metadata.current()

    run = bench.run(tagged, tags=["a"], metadata={"start": 1})
    assert run.tags == ["a", "b"]
    assert run.output == {"start": 1, "progress": {"percent": 50}, "log": ["x"]}
    assert run.metadata == run.output


@pytest.mark.parametrize("wrong", [["x" * 129], [""], [str(n) for n in range(11)]])
def test_tags_out_of_bounds_are_refused(bench, wrong):
    @task
    async def tagged() -> None: ...

    with pytest.raises(ValueError, match="tag"):
        bench.trigger(tagged, tags=wrong)


def test_an_unknown_task_is_pending_or_an_error(bench):
    assert bench.trigger("nobody").status == "PENDING_VERSION"
    with pytest.raises(LookupError, match="nobody"):
        bench.run("nobody")


def test_a_run_that_waits_for_nothing_is_stuck(bench):
    @task
    async def forever() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Stuck):
        bench.run(forever)


def test_an_output_without_a_form_fails_for_good(bench):
    @task(retry=3)
    async def odd() -> object:
        return object()

    run = bench.run(odd)
    assert (run.error["name"], len(run.attempts)) == ("OutputInvalid", 1)


def test_sys_exit_is_a_crash(bench):
    @task(retry=1)
    async def leaves() -> None:
        raise SystemExit(3)

    assert bench.run(leaves).status == "CRASHED"


async def test_a_bench_works_where_a_loop_is_running():
    @task
    async def child() -> int:
        return 1

    @task
    async def parent() -> int:
        handle = await trigger("child")
        assert handle.id
        return await trigger_and_wait("child")

    with Bench() as bench:
        assert bench.run(parent).output == 1
