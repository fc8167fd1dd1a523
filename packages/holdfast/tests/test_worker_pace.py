"""A worker takes short runs ahead, and gives back what it took ahead in vain."""

from __future__ import annotations

import time

from holdfast.protocol import Capacity, Completed, Rejected, Settled
from holdfast.worker.pace import AHEAD, MOST_AHEAD, Pace
from packages.holdfast.tests.conftest import working


def test_short_runs_have_to_convince_and_a_long_one_counts_at_once():
    pace = Pace(places=1_000)
    assert pace.ahead == 1
    for _ in range(100):
        pace.record(0.001)
    assert pace.ahead == AHEAD
    pace.record(0.5)
    assert pace.ahead == 1


def test_what_is_taken_ahead_lasts_for_a_moment(monkeypatch):
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    pace = Pace(places=16)

    def go_on(per_second: int) -> int:
        nonlocal now
        for _ in range(per_second):
            now += 1 / per_second
            pace.record(0.001)
        return pace.ahead

    assert go_on(900) == AHEAD
    assert go_on(1_600) == 25  # 400 runs last for 0.25 s
    assert go_on(9_000) == MOST_AHEAD
    now += 60.0
    pace.record(0.001)
    assert pace.ahead == AHEAD


async def test_short_runs_are_taken_ahead(coordinator):
    async with working(coordinator, capacity=1):
        for _ in range(60):
            await coordinator.result(await coordinator.execute("noop"))
        assert Capacity(slots=AHEAD) in coordinator.told(Capacity)


async def test_what_was_taken_ahead_in_vain_is_given_back(coordinator):
    async with working(coordinator, capacity=1):
        long = await coordinator.execute("sleeps", 2.0)
        waiting = await coordinator.execute("noop")
        await coordinator.wait_for(lambda: coordinator.told(Rejected, waiting))
        await coordinator.send(Settled(run=waiting, generation=1, outcome="requeued"))
        assert isinstance(await coordinator.result(long), Completed)


async def test_what_a_task_leaves_on_the_loop_ends_with_it(coordinator, tmp_path):
    async with working(coordinator, capacity=1):
        first = await coordinator.execute("leaves_a_loop_running", str(tmp_path / "file"))
        await coordinator.result(first)
        second = await coordinator.execute("is_stray_over")
        result = await coordinator.result(second)
    assert result.output == '{"json":true}'
