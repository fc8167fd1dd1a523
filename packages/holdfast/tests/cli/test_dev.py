"""`holdfast dev` and `holdfast worker`, against a coordinator in this process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.protocol import Completed, Hello, Refused
from packages.holdfast.tests.fake_coordinator import FakeCoordinator

TASK = """\
from holdfast import task

@task(id="hello", retry=1)
async def hello(name: str) -> str:
    {body}
"""


class Terminal:
    """A running command whose lines can be waited for."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self._news = asyncio.Condition()
        self._readers = [
            asyncio.create_task(self._read(stream)) for stream in (process.stdout, process.stderr)
        ]

    async def _read(self, stream: Any) -> None:
        async for line in stream:
            async with self._news:
                self.lines.append(line.decode().rstrip("\n"))
                self._news.notify_all()

    async def line(self, text: str, *, count: int = 1) -> str:
        """The `count`-th line that holds a text."""

        def found() -> list[str]:
            return [line for line in self.lines if text in line]

        try:
            async with asyncio.timeout(60), self._news:
                await self._news.wait_for(lambda: len(found()) >= count)
        except TimeoutError:
            pytest.fail(f"{text!r} is not in {self.lines}")
        return found()[count - 1]

    async def ended(self) -> int:
        async with asyncio.timeout(60):
            code = await self.process.wait()
            await asyncio.gather(*self._readers)
        return code


Start = Callable[..., Any]


@pytest.fixture
async def start(tmp_path: Path, coordinator: FakeCoordinator) -> AsyncIterator[Start]:
    """Starts the command in a project with one task."""
    (tmp_path / "holdfast.toml").write_text('[project]\nref = "proj_1"\n')
    (tmp_path / "tasks").mkdir()
    save(tmp_path, "return f'hello {name}'")
    versions = iter(range(1, 99))
    coordinator.api = lambda _method, _path, _body: {
        "id": "worker_1",
        "version": f"20261124.{next(versions)}",
    }
    started: list[Terminal] = []

    async def start(*arguments: str) -> Terminal:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("HOLDFAST_")}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "holdfast.cli", *arguments),
            cwd=tmp_path,
            env=inherited
            | {
                "HOLDFAST_API_URL": coordinator.url,
                "HOLDFAST_SECRET_KEY": "tr_dev_secret",
                "XDG_CONFIG_HOME": str(tmp_path / "config"),
            },
            stdout=PIPE,
            stderr=PIPE,
        )
        started.append(Terminal(process))
        return started[-1]

    yield start
    for terminal in started:
        if terminal.process.returncode is None:
            terminal.process.kill()
        await terminal.ended()


def save(root: Path, body: str) -> None:
    (root / "tasks" / "hello.py").write_text(TASK.format(body=body))


async def test_a_run_is_one_line(start: Start, coordinator: FakeCoordinator):
    terminal = await start("dev")
    assert "hello" in await terminal.line("Version 20261124.1 is ready")
    run = await coordinator.execute("hello", "alice")
    result = await coordinator.result(run)
    assert isinstance(result, Completed)
    assert result.output == "hello alice"
    line = await terminal.line(run)
    assert "✓ hello" in line
    assert len([text for text in terminal.lines if run in text]) == 1


async def test_the_version_is_registered_with_its_tasks(start: Start, coordinator: FakeCoordinator):
    terminal = await start("dev")
    await terminal.line("is ready")
    method, path, body = coordinator.requests[0]
    assert (method, path) == ("POST", "/api/v1/projects/proj_1/background-workers")
    assert [task["id"] for task in body["metadata"]["tasks"]] == ["hello"]
    assert coordinator.told(Hello)[0].version == "20261124.1"


async def test_a_failed_run_shows_its_error(
    start: Start, coordinator: FakeCoordinator, tmp_path: Path
):
    save(tmp_path, "raise ValueError('no\\nway')")
    terminal = await start("dev")
    await terminal.line("is ready")
    run = await coordinator.execute("hello", "alice", max_attempts=1)
    line = await terminal.line(run)
    assert "✗ hello" in line
    assert "no way" in line


async def test_a_saved_file_is_live_at_once(
    start: Start, coordinator: FakeCoordinator, tmp_path: Path
):
    terminal = await start("dev")
    await terminal.line("Version 20261124.1 is ready")
    save(tmp_path, "return f'bye {name}'")
    assert "tasks/hello.py changed" in await terminal.line("Version 20261124.2 is ready")
    result = await coordinator.result(await coordinator.execute("hello", "alice"))
    assert isinstance(result, Completed)
    assert result.output == "bye alice"
    assert coordinator.told(Hello)[-1].version == "20261124.2"


async def test_each_saved_file_is_a_version_that_says_how_long_it_took(
    start: Start, tmp_path: Path
):
    terminal = await start("dev")
    await terminal.line("Version 20261124.1 is ready")
    for number in range(2, 6):
        save(tmp_path, f"return '{number}'")
        line = await terminal.line(f"Version 20261124.{number} is ready in")
        took = line.partition(" is ready in ")[2].partition(":")[0]
        assert took.endswith((" ms", " s")), line


async def test_a_touched_file_makes_no_version(
    start: Start, coordinator: FakeCoordinator, tmp_path: Path
):
    terminal = await start("dev")
    await terminal.line("is ready")
    os.utime(tmp_path / "tasks" / "hello.py", (1, 1))
    save(tmp_path, "return 'changed'")
    await terminal.line("Version 20261124.2 is ready")
    assert len(coordinator.requests) == 2


async def test_broken_code_is_shown_and_the_version_before_stays(
    start: Start, coordinator: FakeCoordinator, tmp_path: Path
):
    terminal = await start("dev")
    await terminal.line("is ready")
    save(tmp_path, "return (")
    assert "20261124.1 stays" in await terminal.line("cannot be imported")
    await terminal.line("SyntaxError")
    result = await coordinator.result(await coordinator.execute("hello", "alice"))
    assert isinstance(result, Completed)
    save(tmp_path, "return 'mended'")
    await terminal.line("Version 20261124.2 is ready")


async def test_code_that_is_broken_from_the_start_can_be_mended(start: Start, tmp_path: Path):
    save(tmp_path, "return (")
    terminal = await start("dev")
    await terminal.line("waiting for a change")
    save(tmp_path, "return 'mended'")
    await terminal.line("Version 20261124.1 is ready")


async def test_a_run_of_the_old_version_is_finished(
    start: Start, coordinator: FakeCoordinator, tmp_path: Path
):
    gate = tmp_path / "gate"
    wait = f"import asyncio, os\n    while not os.path.exists({str(gate)!r}):"
    save(tmp_path, f"{wait}\n        await asyncio.sleep(0.02)\n    return 'old'")
    terminal = await start("dev")
    await terminal.line("is ready")
    run = await coordinator.execute("hello", "alice")
    save(tmp_path, "return 'new'")
    await terminal.line("draining")
    gate.touch()
    result = await coordinator.result(run)
    assert isinstance(result, Completed)
    assert result.output == "old"


async def test_json_is_one_object_per_line(
    start: Start, coordinator: FakeCoordinator, tmp_path: Path
):
    terminal = await start("dev", "--json")
    await terminal.line('"event": "ready"')
    run = await coordinator.execute("hello", "alice")
    record = json.loads(await terminal.line('"event": "completed"'))
    assert record["run"] == run
    assert record["task"] == "hello"
    assert record["willRetry"] is False
    save(tmp_path, "return (")
    failure = json.loads(await terminal.line('"event": "import_failed"'))
    assert "SyntaxError" in failure["traceback"]
    assert all(line.startswith("{") for line in terminal.lines)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_it_cleanly(
    start: Start, coordinator: FakeCoordinator, number: signal.Signals
):
    terminal = await start("dev")
    await terminal.line("is ready")
    terminal.process.send_signal(number)
    assert await terminal.ended() == 0
    assert await terminal.line("a second Ctrl-C stops it")
    assert terminal.lines[-1] == "Stopped."
    assert not [line for line in terminal.lines if "Traceback" in line]


async def test_a_second_signal_stops_what_runs(
    start: Start, coordinator: FakeCoordinator, tmp_path: Path
):
    save(tmp_path, "import asyncio\n    await asyncio.sleep(600)")
    terminal = await start("dev")
    await terminal.line("is ready")
    run = await coordinator.execute("hello", "alice", max_attempts=1)
    await coordinator.wait_for(lambda: [m for m in coordinator.received if m.type == "started"])
    terminal.process.send_signal(signal.SIGINT)
    await terminal.line("draining")
    terminal.process.send_signal(signal.SIGINT)
    assert await terminal.line("Stopping what runs.")
    assert await terminal.ended() == 0
    assert run


async def test_a_refused_key_ends_it(start: Start, coordinator: FakeCoordinator):
    coordinator.refusal = Refused(code="unauthorized", message="this key is not known")
    terminal = await start("dev")
    assert await terminal.ended() == 3
    assert terminal.lines[-1] == "error: this key is not known"


async def test_a_server_that_refuses_the_version_ends_it(
    start: Start, coordinator: FakeCoordinator
):
    coordinator.api = lambda *_: (422, {"error": "two tasks of one id"})
    terminal = await start("dev")
    assert await terminal.ended() == 5
    assert terminal.lines[-1] == "error: two tasks of one id"


async def test_a_worker_executes_a_given_version(start: Start, coordinator: FakeCoordinator):
    terminal = await start("worker", "--version", "20261124.7", "--capacity", "3")
    await coordinator.ready()
    hello = coordinator.told(Hello)[0]
    assert hello.version == "20261124.7"
    run = await coordinator.execute("hello", "bob")
    assert "✓ hello" in await terminal.line(run)
    terminal.process.send_signal(signal.SIGTERM)
    assert await terminal.ended() == 0


async def test_a_worker_without_a_version_is_a_usage_error(start: Start):
    terminal = await start("worker")
    assert await terminal.ended() == 2
    assert "--version" in terminal.lines[-1]


async def test_a_worker_whose_tasks_cannot_be_imported_shows_why(start: Start, tmp_path: Path):
    save(tmp_path, "return (")
    terminal = await start("worker", "--version", "20261124.1")
    assert await terminal.ended() == 1
    assert [line for line in terminal.lines if "SyntaxError" in line]
    assert "cannot be imported" in terminal.lines[-1]
