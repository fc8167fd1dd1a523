"""A live server and the shipped worker, each in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from apps.core import clock
from apps.deployments.operations.versions import promote_version, register_version
from apps.runs.management.commands.engine import Engine
from holdfast import SyncHoldfastClient
from tests import factories
from tests.live import LiveServer

PROJECT = Path(__file__).parent / "project"
PATIENCE = 60.0


@dataclass(slots=True)
class Shop:
    """A tenant with the scenario project as its current version, and its worker."""

    tenant: factories.Tenant
    server: LiveServer
    version: str
    log: Path
    client: SyncHoldfastClient
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start_worker(self, *, capacity: int = 8) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "holdfast.worker", "--root", str(PROJECT)],
                env=self.environ | {"HOLDFAST_CAPACITY": str(capacity)},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.workers.append(process)
        return process

    @property
    def environ(self) -> dict[str, str]:
        return {
            **os.environ,
            "HOLDFAST_API_URL": self.server.url,
            "HOLDFAST_SECRET_KEY": self.tenant.secret,
            "HOLDFAST_VERSION": self.version,
        }

    def finished(self, run_id: str, *, within: float = PATIENCE) -> Any:
        """The run, once it has ended; what the worker said if it does not."""
        try:
            return self.client.runs.wait(run_id, timeout=within, every=0.05)
        except TimeoutError:
            run = self.client.runs.retrieve(run_id)
            pytest.fail(f"{run}\n{self.log.read_text()}\n{self.server.log.read_text()}")


def eventually(check: Callable[[], Any], *, within: float = PATIENCE) -> Any:
    """The first true answer; a scenario has no other way to see inside of processes."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if found := check():
            return found
        time.sleep(0.02)
    pytest.fail("it did not happen")


@contextmanager
def running_engine() -> Iterator[None]:
    """An engine in a thread of this process, for the length of the block."""
    stop = threading.Event()
    thread = threading.Thread(target=Engine().run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.fixture
def shop(live_process, transactional_db, tmp_path) -> Iterator[Shop]:
    tenant = factories.acme()
    indexed = subprocess.run(
        [sys.executable, "-m", "holdfast.index"], cwd=PROJECT, capture_output=True, check=True
    )
    manifest = json.loads(indexed.stdout.splitlines()[-1])
    version = register_version(tenant.scope, manifest=manifest, now=clock.now())
    promote_version(tenant.scope, number=version.number, now=clock.now())
    with SyncHoldfastClient(api_url=live_process.url, secret_key=tenant.secret) as client:
        shop = Shop(
            tenant=tenant, server=live_process, version=version.number,
            log=tmp_path / "worker.log", client=client,
        )  # fmt: skip
        yield shop
        for process in shop.workers:
            process.kill()
            process.wait()
