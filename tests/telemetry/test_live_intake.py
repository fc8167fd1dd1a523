"""Intake by a real web process: chunked bodies, and rows that are written at an orderly stop."""

from __future__ import annotations

import gzip
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from apps.core.ids import new_id, public_id
from tests import factories
from tests.live import test_database_url as database_url
from tests.telemetry import exports
from tests.telemetry.test_store import read

_ROOT = Path(__file__).resolve().parent.parent.parent
_SECONDS = 60


class Web:
    """A daphne that would keep rows for an hour if nobody stopped it."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "daphne", "--fd", str(listener.fileno())),
                    *("--verbosity", "0", "config.asgi:application"),
                ],
                cwd=_ROOT,
                env={
                    **os.environ,
                    "DJANGO_SETTINGS_MODULE": "tests.settings",
                    "DATABASE_URL": database_url(),
                    "TELEMETRY_FLUSH_MILLISECONDS": "3600000",
                },
                pass_fds=[listener.fileno()],
            )

    def stop(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(_SECONDS)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def web(transactional_db) -> Iterator[Web]:
    made = Web()
    yield made
    made.end()


def test_an_orderly_stop_writes_what_is_buffered(web: Web, clickhouse):
    tenant, run = factories.acme(), new_id()
    export = exports.logs(exports.log("in time"), holdfast__run_id=public_id("run", run))
    answer = httpx.post(
        f"{web.url}/otel/v1/logs",
        # An iterator has no length: httpx sends it in chunks.
        content=iter([gzip.compress(export.SerializeToString())]),
        headers={
            "authorization": f"Bearer {tenant.secret}",
            "content-type": "application/x-protobuf",
            "content-encoding": "gzip",
        },
        timeout=_SECONDS,
    )
    assert answer.status_code == 200
    assert read(clickhouse, run, environment=tenant.production.id) == []
    web.stop()
    assert read(clickhouse, run, environment=tenant.production.id) == ["in time"]
