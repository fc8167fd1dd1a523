"""What chaos happens to: all of Holdfast, a version of the chaos project, and workers."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg

from bench.chaos.proxy import Proxy
from config.supervisor import Supervisor
from config.supervisor_programs import ROOT, Choice, build
from holdfast import SyncHoldfastClient
from holdfast.transactions import CREATE_TABLE, VARIABLE

PROJECT = Path(__file__).parent / "project"
ENVIRONMENT_LIMIT = 12
CAPACITY = 8
# Leases and beats of a hasty operator, so that minutes of chaos hold many losses of a lease.
HASTE = {
    "HOLDFAST_LEASE_SECONDS": "12",
    "HOLDFAST_BEAT_SECONDS": "3",
    "HOLDFAST_DELIVERY_SECONDS": "5",
}
LEASE = 12.0
DEPOSITS = 3
_CUSTOMER = "customer"


@dataclass(slots=True)
class WorkerKeeper:
    """A worker process that is started again whenever it ends."""

    command: list[str]
    environment: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    is_wanted: bool = True

    def keep(self) -> None:
        if self.is_wanted and (self.process is None or self.process.poll() is not None):
            with self.log.open("ab") as out:
                self.process = subprocess.Popen(
                    self.command, env=self.environment, stdout=out, stderr=out,
                    start_new_session=True,
                )  # fmt: skip

    def signal(self, number: int) -> None:
        """Send a signal to the worker and all its task processes."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    def stop(self) -> None:
        self.is_wanted = False
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()


@dataclass(slots=True, kw_only=True)
class Stage:
    """A running system, and the means to hurt it."""

    home: Path
    supervisor: Supervisor
    proxy: Proxy
    secret_key: str
    environment_id: str
    workers: list[WorkerKeeper]
    effects: Path
    _end: threading.Event = field(default_factory=threading.Event)

    def client(self) -> SyncHoldfastClient:
        return SyncHoldfastClient(api_url=self.supervisor.url, secret_key=self.secret_key)

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Signal one of the supervised processes; it is started again."""
        if (pid := self.supervisor.pids.get(name)) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def query(self, statement: str, *parameters: object, **named: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.supervisor.environment["DATABASE_URL"]) as database:
            return database.execute(statement, named or parameters).fetchall()

    def deposits(self) -> list[tuple[Any, ...]]:
        """What transaction steps have written into the customer's own database."""
        with psycopg.connect(customer_url(self.supervisor)) as database:
            return database.execute("SELECT run, number FROM deposit").fetchall()

    def keep_workers(self) -> None:
        while not self._end.wait(0.2):
            for worker in self.workers:
                worker.keep()

    def end(self) -> None:
        self._end.set()
        for worker in self.workers:
            worker.stop()


@contextmanager
def stage(*, workers: int) -> Iterator[Stage]:
    """All of Holdfast in a home of its own, with workers that reach it through the proxy."""
    with tempfile.TemporaryDirectory(prefix="holdfast-chaos-") as folder:
        os.chmod(folder, 0o755)  # noqa: S103 -- PostgreSQL runs as another user below root
        home = Path(folder)
        own = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        supervisor = build(
            Choice(home=home, port=0, without=("pool",)), environment={**own, **HASTE}
        )
        supervisor.start()
        try:
            supervisor.wait_ready()
            made = _prepared(home, supervisor, workers)
            keeper = threading.Thread(target=made.keep_workers, name="workers", daemon=True)
            keeper.start()
            try:
                yield made
            finally:
                made.end()
                keeper.join()
        finally:
            supervisor.stop()


def customer_url(supervisor: Supervisor) -> str:
    """The database of the customer's own, which dies with ours: it is in the same PostgreSQL."""
    ours = urlsplit(supervisor.environment["DATABASE_URL"])
    return ours._replace(path=f"/{_CUSTOMER}").geturl()


def _make_customer(supervisor: Supervisor) -> None:
    with psycopg.connect(supervisor.environment["DATABASE_URL"], autocommit=True) as database:
        database.execute(f"CREATE DATABASE {_CUSTOMER}")
    with psycopg.connect(customer_url(supervisor)) as database:
        database.execute(CREATE_TABLE)
        database.execute("CREATE TABLE deposit (run text NOT NULL, number integer NOT NULL)")


def _prepared(home: Path, supervisor: Supervisor, workers: int) -> Stage:
    seeded = _run(supervisor, ROOT, "manage.py", "seed", "--json")["environments"]["prod"]
    manifest = _run(supervisor, PROJECT, "-m", "holdfast.index")
    version = _run(
        supervisor, ROOT, "-m", "bench.register", seeded["id"], json.dumps(manifest)
    )["version"]  # fmt: skip
    _make_customer(supervisor)
    proxy = Proxy(int(urlsplit(supervisor.url).port or 0))
    effects = home / "effects.jsonl"
    with psycopg.connect(supervisor.environment["DATABASE_URL"], autocommit=True) as database:
        database.execute(
            "UPDATE environments_environment SET concurrency_limit = %s, burst_factor = 1",
            (ENVIRONMENT_LIMIT,),
        )
    keepers = []
    for number in range(workers):
        environment = {
            **os.environ,
            "HOLDFAST_API_URL": f"http://127.0.0.1:{proxy.port}",
            "HOLDFAST_SECRET_KEY": seeded["key"],
            "HOLDFAST_VERSION": version,
            "HOLDFAST_CAPACITY": str(CAPACITY),
            "CHAOS_EFFECTS": str(effects),
            VARIABLE: customer_url(supervisor),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # times of effects are compared between processes
        }
        command = [sys.executable, "-m", "holdfast.worker", "--root", str(PROJECT)]
        if number == workers - 1 and (faketime := shifter()):
            command = [faketime, "-f", "-300s", *command]  # the clock of one of them is slow
        keepers.append(WorkerKeeper(command, environment, home / f"worker-{number}.log"))
    return Stage(
        home=home, supervisor=supervisor, proxy=proxy, secret_key=seeded["key"],
        environment_id=seeded["id"], workers=keepers, effects=effects,
    )  # fmt: skip


def shifter() -> str | None:
    """The program that gives a process another clock, where the system has it."""
    return shutil.which("faketime")


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
        raise RuntimeError(f"{' '.join(command[:3])} failed:\n{done.stdout}{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def wait_until(holds: Any, *, seconds: float) -> bool:
    """Ask until it holds, or the time is over; a refusal of the database counts as no."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(psycopg.Error):
            if holds():
                return True
        time.sleep(0.5)
    return False
