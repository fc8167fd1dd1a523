"""The real PostgreSQL, Redis and ClickHouse that the tests run against: one set per session.

The addresses are known before anything runs, so Django's settings can be read at once. The
session's controller starts the engines; workers of xdist inherit the addresses and start nothing.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from config.stores.clickhouse.store import ClickHouse
from config.stores.home import Home
from config.stores.postgres import UNSAFE_BUT_FAST, Postgres, bundled_binaries
from config.stores.process import Child, Program
from config.stores.redis import Redis

_ROOT = Path(__file__).resolve().parent.parent
BINARIES_VARIABLE = "HOLDFAST_TEST_POSTGRES_BIN"
_MARK = "HOLDFAST_TEST_ENGINES"
_PREFIX = "holdfast-test-"
_MOST_WORKERS = 16
_CLICKHOUSE_DATABASES = ("test", *(f"test_gw{number}" for number in range(_MOST_WORKERS)))


class Engines:
    """The stores of one test session, in a folder that goes away with it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
        self.folder.chmod(0o711)  # PostgreSQL may run under another account
        self.home = Home(self.folder)
        self.redis = Redis(self.home)
        self.clickhouse = ClickHouse(self.home, _CLICKHOUSE_DATABASES)
        self._children: list[Child] = []

    @property
    def postgres(self) -> Postgres:
        binaries = postgres_binaries()  # not before the command line is read
        return Postgres(
            self.home,
            binaries=binaries,
            settings={**UNSAFE_BUT_FAST, "autovacuum": "off"},
            template=cluster_template(binaries),
        )

    def environment(self) -> dict[str, str]:
        """What Django's settings read."""
        return {
            "DATABASE_URL": self.postgres.url,
            "REDIS_URL": self.redis.url,
            "CLICKHOUSE_URL": self.clickhouse.url,
            "OBJECT_STORE_URL": f"file://{self.folder / 'objects'}",
            "SECRET_KEY": "only-for-tests-" + "x" * 40,
            "HOLDFAST_HOME": str(self.folder),
            _MARK: str(self.folder),
        }

    def start(self) -> None:
        """Start all; wait for all but ClickHouse, whose clients wait by themselves."""
        self.home.make()
        postgres = self._start(self.postgres.program())
        redis = self._start(self.redis.program())
        self._start(self.clickhouse.program())
        for child in (postgres, redis):
            child.wait_ready()

    def _start(self, program: Program) -> Child:
        child = Child(program, self.home)
        self._children.append(child)
        child.start()
        return child

    def stop(self) -> None:
        """End all engines at once: nothing of theirs is kept."""
        for child in self._children:
            child.kill()
        self.clickhouse.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def begin() -> Engines | None:
    """Set the environment for Django's settings; None in a process that inherited it."""
    if os.environ.get(_MARK):
        _take_own_clickhouse_database()
        return None
    _sweep()
    engines = Engines()
    os.environ.update(engines.environment())
    return engines


def _take_own_clickhouse_database() -> None:
    """As pytest-django does in PostgreSQL: the worker's name makes the database's."""
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        server, _, _ = os.environ["CLICKHOUSE_URL"].rpartition("/")
        os.environ["CLICKHOUSE_URL"] = f"{server}/test_{worker}"


def system_postgres() -> Path | None:
    """The folder of the newest PostgreSQL programs that the system has; None without any."""
    versioned = Path("/usr/lib/postgresql").glob("*/bin/initdb")  # where Debian keeps them
    newest = sorted(versioned, key=lambda found: int(found.parent.parent.name))[-1:]
    if newest:
        return newest[0].parent
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


def postgres_binaries() -> Path:
    """The PostgreSQL to test against: HOLDFAST_TEST_POSTGRES_BIN, else the wheel's."""
    chosen = os.environ.get(BINARIES_VARIABLE)
    return Path(chosen) if chosen else bundled_binaries()


def cluster_template(binaries: Path) -> Path:
    """Where a fresh cluster of these programs is kept, to save initdb's seconds."""
    identity = f"{binaries}:{(binaries / 'postgres').stat().st_mtime_ns}"
    digest = hashlib.sha256(identity.encode()).hexdigest()[:12]
    return _ROOT / ".holdfast" / "templates" / f"postgres-{digest}"


def _sweep() -> None:
    """Remove what sessions left that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        owner = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            shutil.rmtree(folder, ignore_errors=True)
