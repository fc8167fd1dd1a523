"""How runs that go wrong end: as the right outcome, with a readable error, and the worker lives."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from holdfast import packets
from holdfast.protocol import Cancel, Completed, Failed, Started
from holdfast.worker import linux, processors
from packages.holdfast.tests.conftest import eventually, working
from packages.holdfast.tests.fake_coordinator import FakeCoordinator

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def coordinator(shared_coordinator):
    return shared_coordinator


@pytest.fixture
def worker(shared_worker):
    return shared_worker


async def still_works(coordinator) -> None:
    run = await coordinator.execute("echo", "still here")
    result = await coordinator.result(run)
    assert isinstance(result, Completed)


def is_alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_an_exception_fails_the_run_with_its_traceback(coordinator, worker):
    run = await coordinator.execute("fails_twice", max_attempts=1)
    result = await coordinator.result(run)
    assert result.outcome == "failed"
    assert result.retry_delay_ms is None
    assert result.error["type"] == "BUILT_IN_ERROR"
    assert result.error["name"] == "ValueError"
    assert "everything.py" in result.error["stackTrace"]
    assert "attempts.py" not in result.error["stackTrace"]


async def test_a_payload_that_does_not_fit_is_never_retried(coordinator, worker):
    run = await coordinator.execute("typed", {"id": "x", "items": [1]})
    result = await coordinator.result(run)
    assert result.outcome == "failed"
    assert result.retry_delay_ms is None
    assert result.error["name"] == "PayloadInvalid"
    assert "items.0: Input should be a valid string" in result.error["message"]


async def test_an_abort_is_never_retried(coordinator, worker):
    run = await coordinator.execute("aborts")
    result = await coordinator.result(run)
    assert (result.outcome, result.retry_delay_ms) == ("failed", None)


async def test_an_unknown_task_says_what_there_is(coordinator, worker):
    run = await coordinator.execute("no-such-task")
    result = await coordinator.result(run)
    assert result.error["code"] == "COULD_NOT_FIND_TASK"
    assert "echo" in result.error["message"]


@pytest.mark.parametrize("task", ["exits", "exits_hard"])
async def test_an_exit_is_a_crash_that_is_retried(coordinator, worker, task):
    run = await coordinator.execute(task, 3)
    result = await coordinator.result(run, count=3)
    assert result.outcome == "crashed"
    assert result.error["code"] == "TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE"
    assert "3" in result.error["message"]
    assert result.retry_delay_ms is None
    assert [started.attempt for started in coordinator.told(Started, run)] == [1, 2, 3]
    await still_works(coordinator)


async def test_a_segfault_is_a_crash(coordinator, worker):
    run = await coordinator.execute("segfaults", max_attempts=1)
    result = await coordinator.result(run)
    assert result.outcome == "crashed"
    assert result.error["code"] == "TASK_PROCESS_SIGSEGV"
    await still_works(coordinator)


async def test_a_run_over_its_memory_is_killed(coordinator, worker):
    run = await coordinator.execute("eats_memory", machine="micro", max_attempts=1)
    result = await coordinator.result(run)
    assert result.outcome == "crashed"
    assert result.error["code"] == "TASK_PROCESS_OOM_KILLED"
    message = result.error["message"]  # where there are cgroups, the kernel may see it first
    assert "256 MiB" in message or "The kernel killed" in message
    await still_works(coordinator)


@pytest.mark.skipif(len(linux.usable_cpus()) < 2, reason="one CPU cannot be exceeded")
async def test_a_run_over_its_cpus_is_confined_to_them_and_its_process_released(
    coordinator, worker, tmp_path, monkeypatch
):
    # whatever else this computer does, the two processes use more than a hundredth of a CPU
    monkeypatch.setattr(processors, "_TOLERANCE", 0.01)
    gate = tmp_path / "gate"
    run = await coordinator.execute("takes_two_cpus", str(gate), max_attempts=1, machine="small-2x")
    await coordinator.wait_for(lambda: coordinator.told(Started, run))
    process = worker._held[run].process
    children: list[int] = []

    def are_confined() -> bool:
        children[:] = linux.children_of(process.pid)
        return bool(children) and all(
            len(os.sched_getaffinity(pid)) == 1 for pid in (process.pid, *children)
        )

    await eventually(are_confined)
    assert os.sched_getaffinity(process.pid) == os.sched_getaffinity(children[0])
    gate.touch()
    result = await coordinator.result(run)
    assert len(packets.decode(result.output, result.output_type)) == 1
    await eventually(lambda: sorted(os.sched_getaffinity(process.pid)) == linux.usable_cpus())


async def test_a_fork_bomb_is_killed_to_the_last_process(coordinator, worker):
    template = worker._executions.pool._template.pid
    run = await coordinator.execute("fork_bomb", max_attempts=1, machine="large-2x")
    result = await coordinator.result(run)
    assert result.outcome == "crashed"
    assert "processes" in result.error["message"]
    await still_works(coordinator)
    await eventually(lambda: len(linux.descendants_of(template)) <= 4)  # the dead are reaped


async def test_what_a_dead_process_leaves_behind_is_killed(coordinator, worker, tmp_path):
    path = tmp_path / "pids"
    run = await coordinator.execute("leaves_children", str(path), max_attempts=1)
    result = await coordinator.result(run)
    assert "status 9" in result.error["message"]
    pids = [int(pid) for pid in path.read_text().split()]
    await eventually(lambda: not any(is_alive(pid) for pid in pids))


async def test_an_endless_loop_ends_at_its_max_duration(coordinator, worker):
    run = await coordinator.execute("spins", max_duration_seconds=1)
    result = await coordinator.result(run)
    assert result.outcome == "timed_out"
    assert result.error["code"] == "MAX_DURATION_EXCEEDED"
    assert "killed" in result.error["message"]
    assert result.retry_delay_ms is None
    await still_works(coordinator)


async def test_an_async_run_over_its_max_duration_is_cancelled_in_place(coordinator, worker):
    run = await coordinator.execute("sleeps", 60.0, max_duration_seconds=1)
    result = await coordinator.result(run)
    assert result.outcome == "timed_out"
    assert 900 <= result.executed_ms < 2_000


@pytest.mark.parametrize("task", ["sleeps", "waits_for_cancel"])
async def test_a_canceled_run_stops_by_itself(coordinator, worker, task):
    run = await coordinator.execute(task, *([60.0] if task == "sleeps" else []))
    await coordinator.wait_for(lambda: coordinator.told(Started, run))
    await coordinator.send(Cancel(run=run, generation=1, grace_seconds=10, reason="alice said so"))
    result = await coordinator.result(run)
    assert result.outcome == "canceled"
    assert result.error["code"] == "TASK_RUN_CANCELLED"
    assert "alice said so" in result.error["message"]


async def test_a_run_that_ignores_its_cancellation_is_killed(coordinator, worker):
    run = await coordinator.execute("ignores_cancel")
    await coordinator.wait_for(lambda: coordinator.told(Started, run))
    await coordinator.send(Cancel(run=run, generation=1, grace_seconds=0.3))
    result = await coordinator.result(run)
    assert result.outcome == "canceled"
    assert "did not stop within 0.3 s" in result.error["message"]
    await still_works(coordinator)


async def test_the_death_of_the_template_crashes_its_runs_and_no_more(coordinator, worker):
    run = await coordinator.execute("kills_its_parent", max_attempts=1)
    result = await coordinator.result(run)
    assert result.outcome == "crashed"
    await still_works(coordinator)


async def test_a_process_is_used_again_unless_isolation_is_asked_for():
    async with FakeCoordinator() as coordinator, working(coordinator, capacity=1):
        outputs = {}
        for task in ("who", "who_alone"):
            runs = [await self_of(coordinator, task) for _ in range(3)]
            outputs[task] = set(runs)
    assert len(outputs["who"]) == 1
    assert len(outputs["who_alone"]) == 3


async def self_of(coordinator, task: str) -> str:
    run = await coordinator.execute(task)
    result = await coordinator.result(run)
    assert isinstance(result, Completed)
    return result.output


async def test_stopping_a_worker_reports_what_ran_and_leaves_no_process():
    async with FakeCoordinator() as coordinator:
        async with working(coordinator) as worker:
            await coordinator.result(await coordinator.execute("noop"))
            run = await coordinator.execute("sleeps", 60.0)
            await coordinator.wait_for(lambda: coordinator.told(Started, run))
            template = worker._executions.pool._template.pid
            below = linux.descendants_of(template)
        result = await coordinator.result(run)
    assert isinstance(result, Failed)
    assert result.error["code"] == "TASK_PROCESS_SIGTERM"
    assert result.retry_delay_ms is not None
    assert below
    assert not any(is_alive(pid) for pid in [template, *below])
    assert os.getpid() not in below
