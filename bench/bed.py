"""The test bed: a server with stores of its own, and one worker, each in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from bench.load import Target
from config.supervisor import Supervisor
from config.supervisor_programs import ROOT, Choice, build
from holdfast import SyncHoldfastClient

PROJECT = Path(__file__).parent / "project"
_PATIENCE = 120.0
# no provider here: the one worker is the bench's own
_NEEDLESS = ("platform", "pool", "beat")


@dataclass(slots=True, kw_only=True)
class Bed:
    """A running server, the key of an environment in it, and a way to look into its database."""

    supervisor: Supervisor
    secret_key: str
    version: str
    database: psycopg.Connection[Any]

    @property
    def url(self) -> str:
        return self.supervisor.url

    def client(self) -> SyncHoldfastClient:
        return SyncHoldfastClient(api_url=self.url, secret_key=self.secret_key)

    def target(self, task: str) -> Target:
        """One of the bench project's tasks, for bare calls."""
        return Target(url=self.url, secret_key=self.secret_key, task=task)

    def reconnect(self) -> None:
        """Look into the database again, after it was away."""
        self.database = psycopg.connect(
            self.supervisor.environment["DATABASE_URL"], autocommit=True
        )

    def value(self, query: str, *parameters: object) -> Any:
        """The first column of the first row."""
        row = self.database.execute(query, parameters).fetchone()
        return row and row[0]

    def run(self, *command: str) -> Any:
        """What a program in the server's environment prints, as JSON."""
        return _run(self.supervisor, ROOT, *command)

    def wait_for(self, query: str, wanted: object) -> None:
        """Ask until the answer is `wanted`; raises TimeoutError."""
        deadline = time.monotonic() + _PATIENCE
        while self.value(query) != wanted:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{query} has not become {wanted!r}: {self.value(query)!r}")
            time.sleep(0.02)

    @contextmanager
    def worker(self, *, capacity: int) -> Iterator[subprocess.Popen[bytes]]:
        """One connected worker process."""
        connected = "SELECT count(*) FROM deployments_workersession WHERE disconnected_at IS NULL"
        before = self.value(connected)
        process = subprocess.Popen(
            [sys.executable, "-m", "holdfast.worker", "--root", str(PROJECT)],
            env={
                **os.environ,
                "HOLDFAST_API_URL": self.url,
                "HOLDFAST_SECRET_KEY": self.secret_key,
                "HOLDFAST_VERSION": self.version,
                "HOLDFAST_CAPACITY": str(capacity),
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            self.wait_for(connected, before + 1)
            yield process
        finally:
            process.terminate()
            process.wait()


@contextmanager
def bed(*, without: tuple[str, ...] = _NEEDLESS) -> Iterator[Bed]:
    """Stores and processes on a free port, with a version of the bench project."""
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as home:
        os.chmod(home, 0o755)  # noqa: S103 -- PostgreSQL runs as another user below root
        choice = Choice(home=Path(home), port=0, without=without)
        supervisor = build(choice)
        supervisor.start()
        try:
            supervisor.wait_ready()
            yield _prepared(supervisor)
        finally:
            supervisor.stop()


def _prepared(supervisor: Supervisor) -> Bed:
    seeded = _run(supervisor, ROOT, "manage.py", "seed", "--json")
    key = seeded["environments"]["prod"]["key"]
    manifest = _run(supervisor, PROJECT, "-m", "holdfast.index")
    made = _run(
        supervisor, ROOT, "-m", "bench.register", seeded["environments"]["prod"]["id"],
        json.dumps(manifest),
    )  # fmt: skip
    database = psycopg.connect(supervisor.environment["DATABASE_URL"], autocommit=True)
    database.execute("UPDATE environments_environment SET concurrency_limit = 1000")
    return Bed(supervisor=supervisor, secret_key=key, version=made["version"], database=database)


def _run(supervisor: Supervisor, folder: Path, *command: str) -> Any:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**supervisor.environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])
