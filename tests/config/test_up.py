"""`manage.py stores` and `up` as a person runs them."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from config.stores.errors import StoreError
from config.stores.urls import embedded_urls
from config.supervisor_programs import NAMES, Choice, build
from tests.config.test_settings import ROOT, manage
from tests.processes import is_alive, until


class Running:
    """A command that runs in the background, and what it has said."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())

    def says(self, words: str) -> bool:
        assert self.process.poll() is None or any(words in line for line in self.lines), self.lines
        return any(words in line for line in self.lines)

    def finish(self) -> int:
        code = self.process.wait(60)
        self._reader.join()
        return code


@contextmanager
def running(home: Path, *arguments: str, **variables: str) -> Iterator[Running]:
    bare = {"PATH": os.environ["PATH"], "HOLDFAST_HOME": str(home), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [sys.executable, str(ROOT / "manage.py"), *arguments],
        env={**bare, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        command = Running(process)
        try:
            yield command
        finally:
            process.send_signal(signal.SIGTERM)
            command.finish()


def ask(home: Path, query: str):
    with psycopg.connect(embedded_urls(home)["DATABASE_URL"], autocommit=True) as connection:
        cursor = connection.execute(query)
        return cursor.fetchone() if cursor.description else None


def test_stores_serve_a_home_survive_a_kill_and_keep_their_data(tmp_path):
    with running(tmp_path, "stores") as stores:
        until(lambda: stores.says("The stores are up"), 60)
        urls = embedded_urls(tmp_path)
        assert {"DATABASE_URL", "REDIS_URL", "CLICKHOUSE_URL"} <= urls.keys()
        for name in ("stores.env", "secret.env", "clickhouse.password"):
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600

        second = manage(tmp_path, "stores")
        assert second.returncode == 1
        assert f"Holdfast is running already in {tmp_path}" in second.stderr
        assert "Traceback" not in second.stderr

        ask(tmp_path, "SELECT 1 AS one INTO kept")
        server = int((tmp_path / "postgres" / "postmaster.pid").read_text().split()[0])
        os.kill(server, signal.SIGKILL)
        until(lambda: sum("postgres" in line and "ready" in line for line in stores.lines) == 2, 60)
        assert ask(tmp_path, "SELECT one FROM kept") == (1,)

        stores.process.send_signal(signal.SIGINT)
        assert stores.finish() == 0
        assert [line.split()[1] for line in stores.lines[-3:]] == [
            "clickhouse",
            "redis",
            "postgres",
        ]

    with running(tmp_path, "stores") as again:
        until(lambda: again.says("The stores are up"), 60)
        assert ask(tmp_path, "SELECT one FROM kept") == (1,)
        assert embedded_urls(tmp_path) == urls


def test_two_homes_run_side_by_side_and_leave_nothing_when_killed(tmp_path):
    with running(tmp_path / "a", "stores") as a, running(tmp_path / "b", "stores") as b:
        until(lambda: a.says("The stores are up") and b.says("The stores are up"), 60)
        assert ask(tmp_path / "a", "SELECT 1") == ask(tmp_path / "b", "SELECT 1")
        pids = [
            int(line.split("process ")[1].rstrip(")"))
            for line in (*a.lines, *b.lines)
            if "(process " in line
        ]
        assert len(pids) == 6
        for command in (a, b):
            command.process.kill()
        until(lambda: not any(is_alive(pid) for pid in pids))


@pytest.fixture
def given() -> dict[str, str]:
    """External stores, so that nothing is started for a question of ports and names."""
    return {
        name: os.environ[name]
        for name in ("DATABASE_URL", "REDIS_URL", "CLICKHOUSE_URL", "SECRET_KEY")
    }


def test_a_port_in_use_is_told_in_one_sentence(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        refused = manage(tmp_path, "up", "--port", str(port), "--only", "web")
    assert refused.returncode == 1
    assert refused.stderr.strip() == (
        f"CommandError: Port {port} of 127.0.0.1 is in use by another program: stop that one, or "
        "choose another port with --port (0 takes a free one)"
    )


def test_an_unknown_process_is_told_with_those_that_exist(tmp_path):
    refused = manage(tmp_path, "up", "--without", "web,cron")
    assert refused.returncode == 1
    assert f"There is no process 'cron': choose from {', '.join(NAMES)}" in refused.stderr


def test_a_home_that_cannot_be_made_is_told_in_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"Cannot use .*file"):
        build(Choice(home=tmp_path / "file" / "home"))


def test_a_full_disk_is_told_in_one_sentence(tmp_path, monkeypatch):
    def refuse(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("config.supervisor_programs.write_urls", refuse)
    with pytest.raises(StoreError, match=f"The disk is full: make room in .*{tmp_path}"):
        build(Choice(home=tmp_path, only=("postgres",)))


def test_a_store_with_a_url_is_external(tmp_path, given):
    supervisor = build(Choice(home=tmp_path, port=0, without=("web",)), environment=given)
    names = {each.program.name for each in supervisor._all}
    assert names == {"prepare", "engine", "platform", "pool", "beat"}
    assert supervisor.environment["DATABASE_URL"] == given["DATABASE_URL"]
    supervisor._held.close()


def test_only_and_without_choose(tmp_path, given):
    choice = Choice(home=tmp_path, port=0, only=("web", "beat"), without=("beat",))
    supervisor = build(choice, environment=given)
    assert {each.program.name for each in supervisor._all} == {"prepare", "web"}
    supervisor._held.close()


def test_the_servers_address_follows_its_port(tmp_path, given):
    choice = Choice(home=tmp_path, port=0, only=("web",))
    supervisor = build(choice, environment=given)
    with pytest.raises(StoreError, match="running already"):
        build(choice, environment=given)
    port = supervisor.url.rpartition(":")[2]
    assert int(port) > 0
    assert embedded_urls(tmp_path)["SERVER_URL"] == f"http://127.0.0.1:{port}"
    supervisor._held.close()
    public = {**given, "SERVER_URL": "https://runs.example.com"}
    supervisor = build(choice, environment=public)
    assert supervisor.url == "https://runs.example.com"
    supervisor._held.close()
