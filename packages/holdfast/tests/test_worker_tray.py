"""Runs without a place lie on the tray, and task processes take them from there by themselves."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
from collections import Counter
from pathlib import Path

import pytest

from holdfast import packets
from holdfast.protocol import Cancel, Completed, Failed, Rejected, Stale, Started
from holdfast.worker import backlog, linux
from holdfast.worker.frames import FrameProtocol, pack
from packages.holdfast.tests.conftest import working

FOR_LONG = 600.0


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """What lies on the tray is not given back, however slow this machine is."""
    monkeypatch.setattr(backlog, "PATIENCE_SECONDS", FOR_LONG)


@pytest.fixture
async def single(coordinator):
    """A worker that executes one run at a time."""
    async with working(coordinator, capacity=1) as worker:
        yield worker


async def cancel(coordinator, run: str) -> None:
    await coordinator.send(Cancel(run=run, generation=1, grace_seconds=FOR_LONG))


async def value_of(coordinator, run: str) -> object:
    result = await coordinator.result(run)
    assert isinstance(result, Completed)
    return packets.decode(result.output, result.output_type)


def results_of(coordinator, run: str) -> list[Completed | Failed]:
    return [m for m in coordinator.received if isinstance(m, Completed | Failed) and m.run == run]


async def test_a_run_behind_a_long_one_is_taken_by_another_process(coordinator, worker):
    long = await coordinator.execute("sleeps", FOR_LONG)
    runs = [await coordinator.execute("who") for _ in range(20)]
    pids = {await value_of(coordinator, run) for run in runs}
    assert len(pids) == 1
    assert results_of(coordinator, long) == []
    assert [m.run for m in coordinator.told(Started)] == [long, *runs]


async def test_a_run_that_needs_a_process_of_its_own_is_not_passed(coordinator, single):
    first = await coordinator.execute("sleeps", FOR_LONG)
    before = [await coordinator.execute("who") for _ in range(3)]
    alone = await coordinator.execute("who_alone")
    after = [await coordinator.execute("who") for _ in range(3)]
    await cancel(coordinator, first)
    pids = [await value_of(coordinator, run) for run in (*before, alone, *after)]
    assert pids.count(pids[3]) == 1
    assert [m.run for m in coordinator.told(Started)] == [first, *before, alone, *after]


async def test_context_variables_do_not_leak_into_the_next_run(coordinator, single):
    first = await coordinator.execute("sleeps", FOR_LONG)
    runs = [await coordinator.execute("marks", "left") for _ in range(3)]
    runs.append(await coordinator.execute("marks", {"not": "a text"}))  # fails
    runs.append(await coordinator.execute("marks", "left"))
    await cancel(coordinator, first)
    assert isinstance(await coordinator.result(runs.pop(3)), Failed)
    assert [await value_of(coordinator, run) for run in runs] == [None] * 4


async def test_what_runs_leave_on_the_loop_is_over_before_the_next(coordinator, single, tmp_path):
    first = await coordinator.execute("sleeps", FOR_LONG)
    await coordinator.execute("leaves_a_loop_running", str(tmp_path / "stray"))
    after = await coordinator.execute("is_stray_over")
    await cancel(coordinator, first)
    assert await value_of(coordinator, after) is True


async def test_a_process_that_dies_fails_the_run_it_has_taken_and_no_other(coordinator, single):
    first = await coordinator.execute("sleeps", FOR_LONG)
    before = await coordinator.execute("echo", "before")
    dies = await coordinator.execute("exits_hard", 9, max_attempts=1)
    after = [await coordinator.execute("echo", "after") for _ in range(3)]
    await cancel(coordinator, first)
    assert await value_of(coordinator, before) == "before"
    died = await coordinator.result(dies)
    assert died.outcome == "crashed"
    assert "exited with status 9" in died.error["message"]
    assert [await value_of(coordinator, run) for run in after] == ["after"] * 3


async def test_a_run_that_was_taken_by_a_process_which_died_at_once_is_executed(
    coordinator, worker, tmp_path
):
    """The other process, which is at work, is asked whether it has it."""
    path = tmp_path / "notes"
    long = await coordinator.execute("sleeps", FOR_LONG)
    held = await coordinator.execute("sleeps", FOR_LONG)
    dies = await coordinator.execute("takes_and_dies")
    runs = [await coordinator.execute("notes", str(path)) for _ in range(5)]
    await cancel(coordinator, held)
    assert (await coordinator.result(dies)).outcome == "crashed"
    for run in runs:
        await value_of(coordinator, run)
    assert sorted(line.split()[0] for line in path.read_text().splitlines()) == sorted(runs)
    assert results_of(coordinator, long) == []


async def test_a_run_that_is_canceled_on_the_tray_never_starts(coordinator, single, tmp_path):
    first = await coordinator.execute("sleeps", FOR_LONG)
    runs = [await coordinator.execute("notes", str(tmp_path / "notes")) for _ in range(3)]
    await cancel(coordinator, runs[1])
    assert (await coordinator.result(runs[1])).outcome == "canceled"
    await cancel(coordinator, first)
    await value_of(coordinator, runs[0])
    await value_of(coordinator, runs[2])
    assert coordinator.told(Started, runs[1]) == []
    assert len((tmp_path / "notes").read_text().splitlines()) == 2


async def test_a_run_that_is_somebody_elses_by_now_is_not_executed(coordinator, single, tmp_path):
    first = await coordinator.execute("sleeps", FOR_LONG)
    stale = await coordinator.execute("notes", str(tmp_path / "notes"))
    await coordinator.send(Stale(run=stale, generation=1))
    last = await coordinator.execute("echo", "last")
    await cancel(coordinator, first)
    assert await value_of(coordinator, last) == "last"
    assert not (tmp_path / "notes").exists()
    assert results_of(coordinator, stale) == []


async def test_runs_that_lie_for_too_long_are_given_back(coordinator, single, monkeypatch):
    first = await coordinator.execute("sleeps", FOR_LONG)
    runs = [await coordinator.execute("who") for _ in range(3)]
    monkeypatch.setattr(backlog, "PATIENCE_SECONDS", 0.0)
    await coordinator.wait_for(lambda: len(coordinator.told(Rejected)) == len(runs))
    await cancel(coordinator, first)
    last = await coordinator.execute("who")
    await value_of(coordinator, last)
    assert [m.run for m in coordinator.told(Started)] == [first, last]
    assert not any(rejected.is_fault for rejected in coordinator.told(Rejected))


async def test_a_large_order_goes_to_a_process_directly(coordinator, single):
    first = await coordinator.execute("sleeps", FOR_LONG)
    large = await coordinator.execute("echo", "x" * 100_000)
    small = await coordinator.execute("echo", "x")
    await cancel(coordinator, first)
    assert len(await value_of(coordinator, large)) == 100_000
    assert await value_of(coordinator, small) == "x"


async def test_a_stop_begins_nothing_that_lies_on_the_tray(coordinator, tmp_path):
    coordinator.settles = False  # a worker that is gone hears nothing
    async with working(coordinator, capacity=1):
        first = await coordinator.execute("sleeps", FOR_LONG)
        runs = [await coordinator.execute("notes", str(tmp_path / "notes")) for _ in range(3)]
        await coordinator.wait_for(lambda: coordinator.told(Started, first))
        await cancel(coordinator, runs[2])  # what was ordered before has arrived
        await coordinator.result(runs[2])
    assert all([(await coordinator.result(run)).outcome == "crashed" for run in runs[:2]])
    assert not (tmp_path / "notes").exists()


async def test_nothing_is_lost_or_executed_twice_when_processes_are_killed(coordinator, tmp_path):
    path = tmp_path / "notes"
    chance = random.Random(7)  # noqa: S311 -- which process dies is no secret
    killed = 0
    async with working(coordinator, capacity=4):
        runs = [await coordinator.execute("notes", str(path), max_attempts=1) for _ in range(300)]
        for done in range(20, 300, 15):
            await coordinator.wait_for(lambda n=done: len(coordinator.told(Completed)) >= n - 20)
            with contextlib.suppress(IndexError, ProcessLookupError):
                os.kill(chance.choice(task_processes()), signal.SIGKILL)
                killed += 1
        for run in runs:
            await coordinator.result(run)
    executed = Counter(line.split()[0] for line in path.read_text().splitlines())
    ended = Counter(m.run for m in coordinator.received if isinstance(m, Completed | Failed))
    completed = {m.run for m in coordinator.told(Completed)}
    crashed = coordinator.told(Failed)
    assert ended == dict.fromkeys(runs, 1)
    assert set(executed.values()) == {1}
    assert completed <= set(executed)
    assert {failed.outcome for failed in crashed} <= {"crashed"}
    assert len(crashed) <= killed


async def test_last_words_are_heard_when_a_write_finds_the_process_gone():
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    heard, is_over = [], asyncio.Event()
    link = FrameProtocol(heard.append, is_over.set)
    await asyncio.get_running_loop().create_connection(lambda: link, sock=ours)
    with theirs:
        theirs.sendall(pack({"took": 1}))
    link.send({"op": "present"})
    await is_over.wait()
    assert heard == [{"took": 1}]


def task_processes() -> list[int]:
    """Those of the workers of this process."""
    templates = [
        pid
        for pid in linux.children_of(os.getpid())
        if b"holdfast.worker.template" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    return [pid for template in templates for pid in linux.children_of(template)]
