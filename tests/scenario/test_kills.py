"""The demo's job ends right although a process is killed in the middle of it."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from apps.core.ids import parse_public_id
from config import demo
from config.supervisor import Supervisor
from config.supervisor_programs import Choice, build
from holdfast import SyncHoldfastClient
from tests.scenario.conftest import eventually

pytestmark = [pytest.mark.timeout(900), pytest.mark.xdist_group("kills")]

_WITHIN = 300.0
_BESIDES = ("platform", "pool", "beat", "clickhouse")  # no step of the job itself needs them
_UNDER_WAY = 20  # children that have ended when the victim is killed


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """All of Holdfast, with the example shipped."""

    supervisor: Supervisor
    seeded: demo.Seeded
    client: SyncHoldfastClient

    def kill(self, victim: str) -> None:
        if victim == "worker":
            for process in self._workers():
                process.kill()
        else:
            os.kill(self.supervisor.pids[victim], signal.SIGKILL)

    def is_back(self, victim: str, *, after: int) -> bool:
        """Whether a killed program runs again as another process."""
        return self.supervisor.pids.get(victim, after) != after

    def _workers(self) -> list[psutil.Process]:
        """The parent processes of the deployed version's workers."""
        url = self.supervisor.url
        found = [
            process
            for process in psutil.process_iter()
            if _variable(process, "HOLDFAST_API_URL") == url
            and "holdfast.worker" in " ".join(_command(process))
        ]
        ids = {process.pid for process in found}
        return [process for process in found if process.ppid() not in ids]

    def rows(self, query: str, *parameters: object) -> list[Any]:
        with psycopg.connect(self.supervisor.environment["DATABASE_URL"]) as database:
            return database.execute(query, parameters).fetchall()


def _variable(process: psutil.Process, name: str) -> Any:
    try:
        return process.environ().get(name)
    except psutil.Error:
        return None


def _command(process: psutil.Process) -> Any:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    own = {
        name: os.environ[name] for name in ("PATH", "HOME", "SSL_CERT_FILE") if name in os.environ
    }
    with tempfile.TemporaryDirectory(prefix="holdfast-kills-") as home:
        Path(home).chmod(0o755)  # PostgreSQL runs as another user below root
        supervisor = build(Choice(home=Path(home), port=0), environment=own)
        supervisor.start()
        try:
            supervisor.wait_ready()
            seeded = demo.seed(supervisor)
            demo.deploy(supervisor, seeded)
            with SyncHoldfastClient(api_url=supervisor.url, secret_key=seeded.secret_key) as client:
                yield Stage(supervisor=supervisor, seeded=seeded, client=client)
        finally:
            supervisor.stop()


@pytest.mark.parametrize("victim", ["web", "engine", "worker", "redis", "postgres"])
def test_the_job_ends_right_after_a_kill(stage, victim):
    handle = stage.client.trigger("audit-environment", {"paths": [demo.packages()], "tamper": True})
    _await_progress(stage, handle.id)
    stage.kill(victim)
    run = _ended(stage, handle.id)
    demo.check(stage.client, run)
    _check_effects(stage, run)


def test_the_job_ends_right_after_what_it_can_do_without_was_killed(stage):
    killed = {name: stage.supervisor.pids[name] for name in _BESIDES}
    handle = stage.client.trigger("audit-environment", {"paths": [demo.packages()], "tamper": True})
    _await_progress(stage, handle.id)
    for victim in killed:
        stage.kill(victim)
    run = _ended(stage, handle.id)
    demo.check(stage.client, run)
    _check_effects(stage, run)
    for victim, pid in killed.items():
        assert eventually(lambda v=victim, p=pid: stage.is_back(v, after=p), within=60), victim
    stage.supervisor.wait_ready()


def _await_progress(stage: Stage, run_id: str) -> None:
    def is_under_way() -> bool:
        metadata = stage.client.runs.retrieve(run_id).metadata or {}
        return bool(metadata.get("verified", 0) >= _UNDER_WAY)

    eventually(is_under_way, within=_WITHIN)


def _ended(stage: Stage, run_id: str) -> Any:
    """The finished run; while its server is away, ask again."""
    deadline = time.monotonic() + _WITHIN
    while time.monotonic() < deadline:
        try:
            return stage.client.runs.wait(run_id, timeout=5, every=0.2)
        except Exception:
            time.sleep(0.2)
    pytest.fail(f"{stage.client.runs.retrieve(run_id)}")


def _check_effects(stage: Stage, run: Any) -> None:
    """Every distribution was verified by one run that completed once, and nothing is left over."""
    root = parse_public_id("run", run.id)
    children = stage.rows("SELECT id, status, payload FROM runs_run WHERE root_id = %s", root)
    by_folder = Counter(payload for _, status, payload in children if status == "COMPLETED")
    assert len(by_folder) == run.output["distributions"] - len(run.output["findings"])
    assert set(by_folder.values()) == {1}
    ends = stage.rows(
        "SELECT run_id, count(*) FROM runs_runevent "
        "WHERE run_id = ANY(%s) AND kind = 'completed' GROUP BY run_id",
        [identifier for identifier, _, _ in children] + [root],
    )
    assert {count for _, count in ends} == {1}
    open_rows = "SELECT count(*) FROM runs_run WHERE finished_at IS NULL"
    assert eventually(lambda: stage.rows(open_rows) == [(0,)], within=60)
    for table in ("runs_lease", "runs_readyrun", "runs_wait", "runs_timer"):
        assert stage.rows(f"SELECT count(*) FROM {table}") == [(0,)], table  # noqa: S608
    assert stage.rows("SELECT coalesce(sum(used), 0) FROM runs_lane") == [(0,)]
