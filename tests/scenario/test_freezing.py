"""A waiting worker is frozen by its provider, and the same process goes on as somebody new.

The provider double stops the processes of the worker, as a snapshot would, after they have closed
their connections; to restore them it lets them go on, as another instance.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from apps.core import clock
from apps.core.ids import parse_public_id
from apps.deployments.models import Checkpoint, Instance, InstanceState, Pool, Task, WorkerSession
from apps.providers.errors import ProviderError
from apps.providers.protocol import Capabilities, Observed, WorkerSpec
from apps.runs.models import Lease, Run
from apps.runs.operations.duties import queue_due, rescue
from apps.runs.operations.supply import reconcile_pool
from apps.runs.queries import invariant_violations
from tests.scenario.conftest import PROJECT, Shop, eventually

_JUMP_SECONDS = 2.5


@dataclass(slots=True)
class Freezer:
    """A provider of one worker on this machine, whose image is the stopped process itself."""

    shop: Shop
    process: subprocess.Popen[bytes] | None = None
    instance: str = ""
    frozen_at: float = 0.0
    images: list[str] = field(default_factory=list)
    sockets: int = -1
    failure: str = ""
    is_alive: bool = True
    capabilities: Capabilities = field(default_factory=lambda: Capabilities(checkpoint=True))

    def start_worker(self, instance: Instance) -> None:
        self.instance = str(instance.pk)
        with self.shop.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "holdfast.worker", "--root", str(PROJECT)],
                env=self.shop.environ
                | {"HOLDFAST_CAPACITY": "2", "HOLDFAST_INSTANCE": self.instance},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.shop.workers.append(self.process)

    def list(self) -> list[Observed]:
        if not self.is_alive:
            return []
        started_at = datetime(2026, 1, 1, tzinfo=UTC)
        return [
            Observed(
                reference=self.instance, instance=self.instance, is_alive=True,
                started_at=started_at,
            )
        ]  # fmt: skip

    def checkpoint(self, reference: str, *, image: str) -> None:
        if self.failure:
            raise ProviderError(self.failure)
        tree = descendants(self.process.pid)
        eventually(lambda: not connections(tree, self.shop.server.url))
        self.sockets = len(connections(tree, self.shop.server.url))
        for pid in tree:
            os.kill(pid, signal.SIGSTOP)
        self.frozen_at, self.is_alive = time.monotonic(), False
        self.images.append(image)

    def restore(self, spec: WorkerSpec, *, image: str) -> str:
        if self.failure:
            raise ProviderError(self.failure)
        assert image in self.images
        # a restore takes a while, and the clock on the wall has gone on
        eventually(lambda: time.monotonic() - self.frozen_at > _JUMP_SECONDS)
        self.thaw()
        self.instance, self.is_alive = spec.instance, True
        return spec.instance

    def thaw(self) -> None:
        for pid in reversed(descendants(self.process.pid)):
            os.kill(pid, signal.SIGCONT)

    def discard(self, image: str) -> None:
        self.images = [name for name in self.images if name != image]

    def start(self, spec: WorkerSpec) -> str:
        raise ProviderError("this one only freezes")

    def stop(self, reference: str, *, grace: timedelta) -> None:
        """Workers of this test end with it."""

    def forget(self, reference: str) -> None:
        """Nothing is remembered."""


def descendants(pid: int) -> list[int]:
    """A process and all below it, the parents first."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(folder.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


def connections(pids: list[int], url: str) -> set[str]:
    """The TCP connections to the server that these processes have."""
    port = int(url.rpartition(":")[2])
    inodes = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        parts = line.split()
        if int(parts[2].rpartition(":")[2], 16) == port and parts[3] == "01":
            inodes.add(f"socket:[{parts[9]}]")
    held = set()
    for pid in pids:
        try:
            held |= {os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()}
        except OSError:
            continue
    return held & inodes


@pytest.fixture
def freezer(shop) -> Iterator[Freezer]:
    """A frozen-able worker of the shop, as the pool's only instance."""
    Task.objects.update(suspend_after_seconds=0)
    pool = Pool.objects.create(name="freezer", provider="double", created_at=clock.now())
    version_id = Task.objects.values_list("version_id", flat=True)[0]
    instance = Instance.objects.create(
        pool=pool, environment=shop.tenant.production, version_id=version_id,
        state=InstanceState.RUNNING, provider_ref="one", created_at=clock.now(),
        started_at=clock.now(), busy_at=clock.now(),
    )  # fmt: skip
    freezer = Freezer(shop=shop)
    freezer.start_worker(instance)
    yield freezer
    freezer.thaw()


def reconcile(freezer: Freezer) -> None:
    reconcile_pool("freezer", clock=clock.now, provider=freezer)


def state(freezer: Freezer) -> str:
    """What became of the checkpoint after one more round."""
    reconcile(freezer)
    return Checkpoint.objects.values_list("state", flat=True).order_by("-pk").first() or ""


def waiting(shop, task: str = "ask") -> tuple[str, str]:
    """A run that waits for a token, and the token."""
    run = shop.client.trigger(task, "1h").id
    eventually(lambda: shop.client.runs.retrieve(run).status == "WAITING")
    (token,) = shop.client.tokens.list(tags=run)
    return run, token.id


def test_a_frozen_worker_goes_on_as_another_session_under_new_generations(shop, freezer):
    run, token = waiting(shop)
    run_id = parse_public_id("run", run)
    before = Lease.objects.get(pk=run_id)
    eventually(lambda: state(freezer) == "taken")
    assert freezer.sockets == 0
    frozen = Instance.objects.get(pk=WorkerSession.objects.get().instance_id)
    assert (frozen.state, "frozen" in frozen.reason) == ("stopped", True)

    # nothing of it is alive, and nobody takes its run away
    assert rescue(clock.now() + timedelta(days=30)) == 0
    shop.client.tokens.complete(token, "yes")
    assert Run.objects.get(pk=run_id).status == "QUEUED"

    eventually(lambda: state(freezer) in ("restored", "dropped"))
    finished = shop.finished(run)
    assert (finished.status, finished.output, finished.attempt_count) == ("COMPLETED", "yes", 1)
    sessions = list(WorkerSession.objects.order_by("connected_at"))
    assert len(sessions) == 2
    assert str(sessions[1].instance_id) == freezer.instance
    assert Run.objects.get(pk=run_id).generation == before.generation + 2
    eventually(lambda: state(freezer) == "dropped" and freezer.images == [])
    assert invariant_violations(now=clock.now()) == []

    # the worker works on
    again = shop.finished(shop.client.trigger("hello", {"name": "bob"}).id)
    assert again.output == "hello bob"


def test_a_worker_whose_provider_fails_goes_on_as_before(shop, freezer):
    freezer.failure = "no room for images"
    run, token = waiting(shop)
    eventually(lambda: state(freezer) == "failed")
    assert Checkpoint.objects.get().reason == "no room for images"
    # as if the silence had lasted its time: the clock jumps for it
    for pid in descendants(freezer.process.pid):
        os.kill(pid, signal.SIGSTOP)
    stopped_at = time.monotonic()
    eventually(lambda: time.monotonic() - stopped_at > _JUMP_SECONDS)
    freezer.thaw()
    shop.client.tokens.complete(token, "yes")
    assert shop.finished(run).output == "yes"
    assert invariant_violations(now=clock.now()) == []


def test_a_run_whose_image_cannot_be_restored_is_retried_by_its_policy(shop, freezer):
    run, token = waiting(shop)
    eventually(lambda: state(freezer) == "taken")
    freezer.failure = "the image is broken"
    shop.client.tokens.complete(token, "yes")
    eventually(lambda: state(freezer) in ("failed", "dropped"))
    eventually(lambda: rescue(clock.now() + timedelta(seconds=1)))
    queue_due(clock.now())
    found = shop.client.runs.retrieve(run)
    assert found.status == "CRASHED"  # its policy allows one attempt
    assert invariant_violations(now=clock.now()) == []


def test_a_frozen_run_that_is_canceled_needs_no_image(shop, freezer):
    run, _ = waiting(shop)
    eventually(lambda: state(freezer) == "taken")
    shop.client.runs.cancel(run)
    assert shop.client.runs.retrieve(run).status == "CANCELED"
    eventually(lambda: state(freezer) in ("failed", "dropped") and freezer.images == [])
    assert invariant_violations(now=clock.now()) == []


def test_a_worker_that_does_something_is_not_frozen(shop, freezer):
    run, _ = waiting(shop)
    busy = shop.client.trigger("forever").id
    eventually(lambda: shop.client.runs.retrieve(busy).status == "EXECUTING")
    for _ in range(3):
        reconcile(freezer)
    assert not Checkpoint.objects.exists()
    assert shop.client.runs.retrieve(run).status == "WAITING"
