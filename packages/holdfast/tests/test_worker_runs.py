"""What a worker does with runs that behave."""

from __future__ import annotations

import asyncio

import pytest

from holdfast import packets
from holdfast.protocol import (
    Beat,
    Completed,
    Failed,
    MetadataChanged,
    Resume,
    Settled,
    Started,
    Steps,
    Suspended,
)
from packages.holdfast.tests.fake_coordinator import FakeCoordinator

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


async def test_a_retry_that_is_ordered_twice_is_begun_once(coordinator, worker, monkeypatch):
    monkeypatch.setattr(coordinator, "repeats_itself", True)
    run = await coordinator.execute("fails_twice")
    third = await coordinator.result(run, count=3)
    assert isinstance(third, Completed)
    assert [failed.attempt for failed in coordinator.told(Failed, run)] == [1, 2]


async def test_what_a_run_says_is_exported_with_its_names(coordinator, worker):
    run = await coordinator.execute("talks", traceparent=f"00-{'ab' * 16}-{'cd' * 8}-01")
    await coordinator.result(run)
    await coordinator.wait_for(lambda: len(exported(coordinator, run, "logs")) == 4)
    await coordinator.wait_for(lambda: len(exported(coordinator, run, "traces")) == 2)
    logs = {log["body"]["stringValue"]: log for log in exported(coordinator, run, "logs")}
    assert set(logs) == {"printed", "logged 1", "said", "inside"}
    assert logs["logged 1"]["severityText"] == "WARN"
    step, attempt = exported(coordinator, run, "traces")
    assert (step["name"], attempt["name"]) == ("step", "attempt 1")
    assert attempt["traceId"] == "ab" * 16
    assert attempt["parentSpanId"] == "cd" * 8
    assert step["parentSpanId"] == attempt["spanId"]
    assert logs["inside"]["spanId"] == step["spanId"]


def exported(coordinator, run: str, kind: str) -> list[dict]:
    records = []
    for _, path, body in coordinator.requests:
        if path == f"/otel/v1/{kind}":
            group = body["resourceLogs" if kind == "logs" else "resourceSpans"][0]
            scoped = group["scopeLogs" if kind == "logs" else "scopeSpans"][0]
            records += scoped["logRecords" if kind == "logs" else "spans"]
    wanted = {"key": "holdfast.run_id", "value": {"stringValue": run}}
    return [record for record in records if wanted in record["attributes"]]


async def test_a_stored_payload_is_fetched(coordinator, worker):
    def api(method, path, body):
        if path.startswith("/api/v3/runs/"):
            moment = "2026-11-24T00:00:00.000Z"
            return {
                "id": "run_x", "status": "EXECUTING", "taskIdentifier": "echo",
                "createdAt": moment, "updatedAt": moment, "payload": "large",
            }  # fmt: skip
        return FakeCoordinator._child(coordinator, method, path, body)

    coordinator.api = api
    run = await coordinator.execute("echo", payload_type="application/store", payload="a/b.json")
    assert (await coordinator.result(run)).output == "large"


async def test_a_wait_does_not_count_as_execution(coordinator, worker):
    coordinator.settles = False
    try:
        run = await coordinator.execute("plain_parent", "word", max_duration_seconds=1)
        (waits,) = await coordinator.wait_for(lambda: coordinator.told(Suspended, run))
        await asyncio.sleep(1.5)  # longer than it may execute
    finally:
        coordinator.settles = True
    await coordinator.finish_children(waits)
    result = await coordinator.result(run)
    assert isinstance(result, Completed)
    assert result.executed_ms < 1_000


@pytest.fixture
def silent(coordinator, monkeypatch):
    """A coordinator that answers nothing by itself."""
    monkeypatch.setattr(coordinator, "settles", False)
    return coordinator


async def test_a_long_wait_frees_its_place_before_the_server_answers(silent, worker):
    runs = [await silent.execute("sleeps_for_a_day") for _ in range(5)]  # of two places
    for run in runs:
        (waits,) = await silent.wait_for(lambda run=run: silent.told(Suspended, run))
        assert (waits.release, waits.left, len(waits.times)) == (True, True, 1)
        assert silent.told(Steps, run)
    await silent.cut()
    for run in runs:  # it answers for them until it is told
        await silent.wait_for(lambda run=run: silent.told(Suspended, run)[1:])
    for run in runs:
        await silent.send(Settled(run=run, generation=1, outcome="released"))
    await silent.wait_for(lambda: silent.told(Beat)[-1:] == [Beat(holding=[])])


async def test_what_a_server_of_before_resumes_after_it_has_left_is_a_crash(silent, worker):
    run = await silent.execute("sleeps_for_a_day")
    await silent.wait_for(lambda: silent.told(Suspended, run))
    await silent.send(
        Settled(run=run, generation=1, outcome="waiting"),
        Resume(run=run, generation=2, previous=1, results=[]),
    )
    ended = await silent.result(run)
    assert (ended.outcome, ended.generation) == ("crashed", 2)
    await silent.send(Settled(run=run, generation=2, outcome="final"))
