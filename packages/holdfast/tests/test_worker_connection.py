"""What a worker does when the connection, the lease or the server's mind changes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.protocol import (
    Beat,
    Completed,
    Drain,
    Execute,
    Failed,
    Held,
    Hello,
    Refused,
    Settled,
    Stale,
    Started,
)
from holdfast.worker import ConnectionRefused, ProjectFailed, Worker, WorkerOptions
from packages.holdfast.tests.conftest import SAMPLE, eventually, working
from packages.holdfast.tests.fake_coordinator import FakeCoordinator


async def test_a_beat_lists_what_is_held(coordinator, worker):
    run = await coordinator.execute("sleeps", 60.0)
    await coordinator.wait_for(
        lambda: any(Held(run=run, generation=1) in beat.holding for beat in coordinator.told(Beat))
    )


async def test_a_broken_connection_keeps_the_run_and_its_lease(coordinator, worker):
    run = await coordinator.execute("sleeps", 1.0)
    await coordinator.wait_for(lambda: coordinator.told(Started, run))
    await coordinator.cut()
    result = await coordinator.result(run)
    assert isinstance(result, Completed)
    first, second = coordinator.told(Hello)
    assert first.session == second.session
    assert second.holding == [Held(run=run, generation=1)]
    assert len(coordinator.told(Started, run)) == 2


async def test_a_result_is_sent_again_until_it_is_settled(coordinator, worker):
    coordinator.settles = False
    run = await coordinator.execute("echo", 1)
    await coordinator.result(run)
    await coordinator.cut()
    again = await coordinator.result(run, count=2)
    assert isinstance(again, Completed)
    await coordinator.send(Settled(run=run, generation=1, outcome="final"))
    seen = len(coordinator.told(Beat))
    await coordinator.wait_for(lambda: len(coordinator.told(Beat)) >= seen + 2)
    assert coordinator.told(Beat)[-1].holding == []


async def test_an_order_said_twice_runs_once(coordinator, worker):
    run = await coordinator.execute("sleeps", 0.3)
    order = Execute(
        run=run, generation=1, attempt=1, max_attempts=3, task="sleeps", payload="0.3",
        payload_type="application/json", context={"run": {"id": run}},
    )  # fmt: skip
    await coordinator.send(order)
    await coordinator.result(run)
    other = await coordinator.execute("noop")
    await coordinator.result(other)
    assert len(coordinator.told(Started, run)) == 1


async def test_a_newer_generation_replaces_the_older(coordinator, worker):
    run = await coordinator.execute("sleeps", 60.0)
    await coordinator.wait_for(lambda: coordinator.told(Started, run))
    order = Execute(
        run=run, generation=2, attempt=2, max_attempts=3, task="noop", payload=None,
        payload_type="application/json", context={"run": {"id": run}},
    )  # fmt: skip
    await coordinator.send(order)
    result = await coordinator.result(run)
    assert (result.generation, result.attempt) == (2, 2)


@pytest.mark.parametrize("how", ["stale", "lost"])
async def test_a_run_that_is_no_longer_ours_is_stopped_without_a_word(coordinator, worker, how):
    run = await coordinator.execute("sleeps", 60.0)
    await coordinator.wait_for(lambda: coordinator.told(Started, run))
    process = worker._held[run].process
    if how == "stale":
        await coordinator.send(Stale(run=run, generation=1))
    else:
        coordinator.lost = [run]
        await coordinator.cut()
    await eventually(lambda: process.status is not None)
    assert not coordinator.told(Failed, run)


async def test_without_contact_for_a_lease_the_run_is_stopped():
    async with (
        FakeCoordinator(beat_seconds=0.1, lease_seconds=0.5) as coordinator,
        working(coordinator) as worker,
    ):
        run = await coordinator.execute("sleeps", 60.0)
        await coordinator.wait_for(lambda: coordinator.told(Started, run))
        process = worker._held[run].process
        coordinator._front.close()  # no way back
        await coordinator.cut()
        await eventually(lambda: process.status is not None)
        assert not worker._held


async def test_a_drained_worker_finishes_and_ends(coordinator):
    worker = Worker(
        WorkerOptions(
            root=SAMPLE, api_url=coordinator.url, secret_key="tr_dev_x", version="1", capacity=1
        )
    )
    running = asyncio.create_task(worker.run())
    await coordinator.ready()
    run = await coordinator.execute("sleeps", 0.5)
    await coordinator.wait_for(lambda: coordinator.told(Started, run))
    await coordinator.send(Drain())
    assert isinstance(await coordinator.result(run), Completed)
    await asyncio.wait_for(running, 10)
    assert coordinator.slots == 0


async def test_a_refusal_ends_the_worker(coordinator):
    coordinator.refusal = Refused(code="version", message="no such version")
    options = WorkerOptions(
        root=SAMPLE, api_url=coordinator.url, secret_key="tr_dev_x", version="1"
    )
    with pytest.raises(ConnectionRefused, match="no such version"):
        await Worker(options).run()


async def test_a_project_that_cannot_be_imported_shows_its_traceback(coordinator, tmp_path):
    (tmp_path / "holdfast.toml").write_text('[project]\nref = "p"\ndirs = ["tasks"]\n')
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "broken.py").write_text("import no_such_module\n")
    options = WorkerOptions(
        root=tmp_path, api_url=coordinator.url, secret_key="tr_dev_x", version="1"
    )
    with pytest.raises(ProjectFailed, match="no_such_module") as failed:
        await Worker(options).run()
    first, *files = [line for line in str(failed.value).splitlines() if "File " in line]
    assert first.endswith('tasks/broken.py", line 1, in <module>')
    assert files == []


async def test_variables_of_the_environment_reach_the_import(coordinator, tmp_path):
    coordinator.variables = {"GREETING": "ahoy"}
    (tmp_path / "holdfast.toml").write_text('[project]\nref = "p"\ndirs = ["mine.py"]\n')
    (tmp_path / "mine.py").write_text(
        "import os\nfrom holdfast import task\nVALUE = os.environ['GREETING']\n"
        "@task\ndef greet() -> str:\n    return VALUE\n"
    )
    async with working(coordinator, root=tmp_path):
        run = await coordinator.execute("greet")
        assert (await coordinator.result(run)).output == "ahoy"


def start(coordinator: FakeCoordinator) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "holdfast.worker", "--root", str(SAMPLE), "--version", "1"],
        env={**os.environ, "HOLDFAST_API_URL": coordinator.url, "HOLDFAST_SECRET_KEY": "tr_dev_x"},
    )


async def test_sigterm_drains_and_a_second_one_stops(coordinator):
    process = start(coordinator)
    await coordinator.ready()
    run = await coordinator.execute("sleeps", 60.0)
    await coordinator.wait_for(lambda: coordinator.told(Started, run))
    process.send_signal(signal.SIGTERM)
    await coordinator.wait_for(lambda: coordinator.slots == 0)
    process.send_signal(signal.SIGTERM)
    result = await coordinator.result(run)
    assert result.error["code"] == "TASK_PROCESS_SIGTERM"
    assert await asyncio.to_thread(process.wait, 10) == 0


async def test_a_killed_worker_leaves_no_process(coordinator):
    process = start(coordinator)
    await coordinator.ready()
    run = await coordinator.execute("who")
    pid = int(_number(await coordinator.result(run)))
    process.kill()
    await asyncio.to_thread(process.wait, 10)
    await eventually(lambda: not Path(f"/proc/{pid}").exists())


def _number(result: Completed) -> str:
    return "".join(letter for letter in result.output or "" if letter.isdigit())


async def test_a_report_without_an_answer_is_repeated(coordinator, worker, monkeypatch):
    monkeypatch.setattr("holdfast.worker.held._REMIND_SECONDS", 0.2)
    coordinator.settles = False
    run = await coordinator.execute("echo", 1)
    assert isinstance(await coordinator.result(run, count=2), Completed)
