"""A real web process on a loopback port, over the database of the running tests."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import pytest
from django.db import connection

_ROOT = Path(__file__).resolve().parent.parent
_STOP_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveServer:
    """Where the web process listens, and what it has said so far."""

    url: str
    log: Path

    def path(self, path: str) -> str:
        return self.url + path


@contextmanager
def web_process(database: str, **environment: str) -> Iterator[LiveServer]:
    """One daphne for the length of the block, with more environment variables than the tests'."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        # The socket listens already: clients may connect before the process accepts.
        port = listener.getsockname()[1]
        log = Path(tempfile.mkstemp(prefix="holdfast-live-", suffix=".log")[1])
        with log.open("wb") as output:
            process = subprocess.Popen(
                [
                    sys.executable,
                    *("-m", "config.web", "--fd", str(listener.fileno())),
                    *("--verbosity", "0", "config.asgi:application"),
                ],
                cwd=_ROOT,
                env={
                    **os.environ,
                    "DJANGO_SETTINGS_MODULE": "tests.settings",
                    "DATABASE_URL": database,
                    "SERVER_URL": f"http://127.0.0.1:{port}",
                    **environment,
                },
                pass_fds=[listener.fileno()],
                stdout=output,
                stderr=subprocess.STDOUT,
            )
    try:
        yield LiveServer(url=f"http://127.0.0.1:{port}", log=log)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.unlink(missing_ok=True)


@pytest.fixture(scope="session")
def live_process(django_db_setup, django_db_blocker) -> Iterator[LiveServer]:
    """One daphne for the whole session of this worker."""
    with django_db_blocker.unblock():
        database = test_database_url()
    with web_process(database) as server:
        yield server


@pytest.fixture
def web(live_process: LiveServer, transactional_db) -> LiveServer:
    """The web process; what the test commits, it sees."""
    return live_process


def test_database_url() -> str:
    """The URL of the database that pytest-django made for this worker."""
    parts = urlsplit(os.environ["DATABASE_URL"])
    name = quote(str(connection.settings_dict["NAME"]))
    return urlunsplit(parts._replace(path=f"/{name}"))


test_database_url.__test__ = False  # type: ignore[attr-defined]
