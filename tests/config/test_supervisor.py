"""The supervisor over small programs: order, restarts, and a clean end whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from config.stores.errors import StoreError
from config.stores.home import Home
from config.supervisor import Event, Supervisor
from config.supervisor_undertaker import TOKEN_VARIABLE, marked
from tests.processes import FOREVER, is_alive, python, until

ROOT = Path(__file__).resolve().parent.parent.parent


class Story(list[Event]):
    """What the supervisor reported."""

    def lines(self) -> list[str]:
        return [f"{event.name} {event.text.split(' (')[0]}" for event in self]

    def tells(self, *words: str) -> bool:
        return any(all(word in f"{event.name} {event.text}" for word in words) for event in self)


@pytest.fixture
def story() -> Story:
    return Story()


@pytest.fixture
def supervise(tmp_path, story) -> Iterator[Callable[..., Supervisor]]:
    started = []

    def supervise(*programs) -> Supervisor:
        supervisor = Supervisor(Home(tmp_path), programs, report=story.append)
        started.append(supervisor)
        supervisor.start()
        return supervisor

    yield supervise
    for supervisor in started:
        supervisor.hurry()
        supervisor.stop()


def test_programs_start_after_what_they_need_and_stop_before_it(supervise, story):
    store = python(FOREVER, name="store", is_store=True)
    prepare = python("pass", name="prepare", after=("store",), runs_once=True)
    web = python(FOREVER, name="web", after=("prepare",))
    supervisor = supervise(web, prepare, store)
    supervisor.wait_ready(30)
    assert set(supervisor.pids) == {"store", "web"}
    supervisor.stop()
    assert story.lines() == [
        *("store started", "prepare started", "prepare done", "web started"),
        *("web stopped", "store stopped"),
    ]
    assert supervisor.pids == {}


def test_a_killed_program_is_started_again(supervise, story):
    supervisor = supervise(python(FOREVER, name="store", is_store=True))
    supervisor.wait_ready(30)
    former = supervisor.pids["store"]
    os.kill(former, signal.SIGKILL)
    until(lambda: supervisor.pids.get("store", former) != former)
    assert story.tells("store", "was killed by SIGKILL; next try in 0.5 s")


def test_failures_in_a_row_wait_longer_each_time(supervise, story, monkeypatch):
    monkeypatch.setattr("config.supervisor._FIRST_DELAY", 0.01)
    supervise(python("raise SystemExit('no luck')", name="web"))
    until(lambda: story.tells("next try in 0.08 s"))
    delays = [event.text.rpartition("in ")[2] for event in story if "next try" in event.text]
    assert delays[:4] == ["0.01 s", "0.02 s", "0.04 s", "0.08 s"]
    assert story.tells("web", "ended with exit code 1: no luck")


def test_a_store_that_cannot_start_ends_everything_with_its_sentence(supervise, story):
    other = python(FOREVER, name="web")
    store = python(
        "print('disk on fire')",
        name="store",
        is_store=True,
        is_ready=lambda: False,
        diagnose=lambda log: "The disk burns" if "on fire" in log else None,
    )
    supervisor = supervise(other, store)
    with pytest.raises(StoreError, match=r"^The disk burns$"):
        supervisor.wait_ready(30)
    assert supervisor.wait(30)
    assert supervisor.pids == {}


def test_a_failed_preparation_ends_everything(supervise):
    supervisor = supervise(
        python("raise SystemExit('bad migration')", name="prepare", runs_once=True),
        python(FOREVER, name="web", after=("prepare",)),
    )
    with pytest.raises(StoreError, match="prepare ended with exit code 1: bad migration"):
        supervisor.wait_ready(30)


def test_what_is_optional_may_fail(supervise, story):
    optional = python("raise SystemExit(1)", name="telemetry", runs_once=True, is_optional=True)
    supervisor = supervise(optional, python(FOREVER, name="web"))
    supervisor.wait_ready(30)
    until(lambda: story.tells("telemetry", "next try"))
    assert supervisor.is_running


def test_a_program_that_never_becomes_ready_is_named(supervise):
    supervisor = supervise(python(FOREVER, name="web", is_ready=lambda: False))
    with pytest.raises(StoreError, match=r"Not ready after 0.1 s: web"):
        supervisor.wait_ready(0.1)


def test_a_program_that_hangs_at_its_start_is_replaced(supervise, story):
    hangs = python(FOREVER, name="web", is_ready=lambda: False, ready_seconds=0.2)
    supervise(hangs)
    until(lambda: story.tells("web", "killed: not ready after 0.2 s"))
    until(lambda: story.tells("web", "next try"))


def test_waiting_ends_when_it_is_stopped_meanwhile(supervise):
    supervisor = supervise(python(FOREVER, name="web", is_ready=lambda: False))
    supervisor.ask_to_stop()
    with pytest.raises(StoreError, match="Stopped before"):
        supervisor.wait_ready(30)


def test_what_programs_started_elsewhere_ends_with_them(supervise, tmp_path):
    daemon = f"""
        import subprocess, sys, time
        child = subprocess.Popen([sys.executable, "-c", {FOREVER!r}], start_new_session=True)
        print(child.pid, flush=True)
        time.sleep(600)
    """
    supervisor = supervise(python(textwrap.dedent(daemon), name="pool"))
    supervisor.wait_ready(30)
    log = tmp_path / "logs" / "pool.log"
    until(lambda: log.read_text().strip() != "")
    worker = int(log.read_text())
    supervisor.stop()
    assert not is_alive(worker)


def test_nothing_is_left_when_the_supervisor_itself_is_killed(tmp_path):
    code = f"""
        import sys
        from pathlib import Path
        from config.stores.home import Home
        from config.supervisor import Supervisor
        from tests.processes import FOREVER, python
        nested = "import subprocess, sys, time\\n" \\
            "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']," \\
            " start_new_session=True)\\nprint('both', flush=True)\\ntime.sleep(600)"
        home = Home(Path({str(tmp_path)!r}))
        supervisor = Supervisor(home, [python(nested, name="pool"),
                                       python(FOREVER, name="store", is_store=True)])
        supervisor.start()
        supervisor.wait_ready()
        print(supervisor._undertaker.token, supervisor.pids["store"], flush=True)
        supervisor.wait()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdout is not None
        token, store = process.stdout.readline().split()
        log = tmp_path / "logs" / "pool.log"
        until(lambda: "both" in log.read_text())
        assert len(marked(token)) == 2
        process.kill()
        until(lambda: not marked(token) and not is_alive(int(store)))


def test_the_token_is_in_no_store(supervise, tmp_path):
    show = f"import os, time; print(os.environ.get({TOKEN_VARIABLE!r}), flush=True); {FOREVER}"
    supervise(python(show, name="store", is_store=True), python(show, name="web"))
    logs = tmp_path / "logs"
    until(lambda: (logs / "store.log").exists() and (logs / "store.log").read_text() != "")
    assert (logs / "store.log").read_text() == "None\n"
    until(lambda: (logs / "web.log").exists() and (logs / "web.log").read_text() != "")
    assert len((logs / "web.log").read_text().strip()) == 16
