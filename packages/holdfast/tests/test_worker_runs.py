"""What a worker does with runs that behave."""

from __future__ import annotations

import pytest

from holdfast import packets
from holdfast.protocol import Completed, MetadataChanged, Started, Suspended

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def coordinator(shared_coordinator):
    return shared_coordinator


@pytest.fixture
def worker(shared_worker):
    return shared_worker


async def test_a_run_starts_and_its_result_comes_back(coordinator, worker):
    run = await coordinator.execute("echo", {"n": 1})
    result = await coordinator.result(run)
    assert isinstance(result, Completed)
    assert packets.decode(result.output, result.output_type) == {"n": 1}
    assert coordinator.told(Started, run)[0].attempt == 1


async def test_a_plain_function_runs_in_a_thread_with_the_context(coordinator, worker):
    run = await coordinator.execute("shout", "hello")
    result = await coordinator.result(run)
    assert packets.decode(result.output, result.output_type) == {
        "word": "HELLO",
        "run": run,
        "attempt": 1,
    }


async def test_gathered_children_are_waited_for_as_one(coordinator, worker):
    run = await coordinator.execute("parent", ["a", "b", "c"])
    result = await coordinator.result(run)
    assert packets.decode(result.output, result.output_type) == ["a", "b", "c"]
    assert [len(s.waitpoints) for s in coordinator.told(Suspended, run)] == [3]
    assert result.generation == 2


async def test_a_plain_task_waits_for_a_child(coordinator, worker):
    run = await coordinator.execute("plain_parent", "word")
    result = await coordinator.result(run)
    assert result.output == "word"


async def test_metadata_is_sent_before_the_result(coordinator, worker):
    run = await coordinator.execute("talks")
    await coordinator.result(run)
    (changed,) = coordinator.told(MetadataChanged, run)
    assert [operation["type"] for operation in changed.operations] == ["set", "increment"]


async def test_a_retry_here_runs_the_next_attempt(coordinator, worker):
    run = await coordinator.execute("fails_twice")
    third = await coordinator.result(run, count=3)
    assert isinstance(third, Completed)
    assert packets.decode(third.output, third.output_type) == 3
