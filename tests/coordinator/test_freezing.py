"""Freezing over the socket: asked, answered, and back under another session; and full workers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from apps.core import bell, clock
from apps.core.ids import parse_public_id, public_id
from apps.deployments.models import Checkpoint, Instance, Pool, Version, WorkerSession
from apps.runs.models import Lease
from apps.runs.operations.waitpoints import complete_token, create_token
from holdfast.protocol import (
    Completed,
    Execute,
    Freeze,
    Held,
    Malformed,
    Prepare,
    Prepared,
    Resume,
    Settled,
)
from tests import factories
from tests.coordinator.client import RawWorker, raw_worker
from tests.live import LiveServer, web_process
from tests.live import test_database_url as database_url
from tests.runs.engine import ask, get, started, suspended, trigger, version

pytestmark = pytest.mark.django_db(transaction=True)


@dataclass(slots=True)
class Waiting:
    """A worker with one run that waits for a token."""

    worker: RawWorker
    work: Execute
    token: UUID
    checkpoint: Checkpoint

    @property
    def name(self) -> str:
        return public_id("checkpoint", self.checkpoint.pk)

    @property
    def holding(self) -> list[Held]:
        return [Held(run=self.work.run, generation=self.work.generation)]

    def state(self) -> str:
        self.checkpoint.refresh_from_db()
        return str(self.checkpoint.state)


@pytest.fixture
def waiting(connect, acme) -> Waiting:
    worker = connect()
    instance = Instance.objects.create(
        pool=Pool.objects.create(name="p", provider="double", created_at=clock.now()),
        environment=acme.production, version=Version.objects.get(), machine="",
        created_at=clock.now(),
    )  # fmt: skip
    worker.hello(instance=str(instance.pk), can_freeze=True)
    trigger(acme.scope, now=clock.now())
    work = worker.expect(Execute)
    token = create_token(acme.scope, now=clock.now()).waitpoint_id
    worker.send(started(work), suspended(work, token))
    worker.expect(Settled, outcome="waiting")
    checkpoint = Checkpoint.objects.create(
        pool=instance.pool, instance=instance, session_id=UUID(worker.session),
        created_at=clock.now(), moved_at=clock.now(),
    )  # fmt: skip
    return Waiting(worker=worker, work=work, token=token, checkpoint=checkpoint)


def test_a_worker_is_asked_and_may_be_silent_when_it_is_prepared(waiting):
    bell.ring("freeze", session=waiting.worker.session, checkpoint=waiting.name)
    assert waiting.worker.expect(Prepare).checkpoint == waiting.name
    waiting.worker.send(Prepared(checkpoint=waiting.name, holding=waiting.holding))
    freeze = waiting.worker.expect(Freeze)
    assert (freeze.checkpoint, freeze.quiet_seconds) == (waiting.name, 60)
    assert waiting.state() == "prepared"
    assert WorkerSession.objects.get().disconnected_at is not None


def test_a_run_that_was_woken_meanwhile_goes_on_instead(waiting, acme):
    complete_token(acme.scope, waitpoint_id=waiting.token, now=clock.now())
    waiting.worker.send(Prepared(checkpoint=waiting.name))
    resume = waiting.worker.expect(Resume)
    waiting.worker.send(Completed(run=waiting.work.run, generation=resume.generation, attempt=1))
    waiting.worker.expect(Settled, outcome="final")
    assert waiting.state() in ("asked", "failed")


def test_an_unknown_checkpoint_freezes_nobody(waiting):
    waiting.worker.send(Prepared(checkpoint=public_id("checkpoint", uuid4())))
    waiting.worker.send(Prepared(checkpoint="nonsense"))
    waiting.worker.expect(Malformed)
    waiting.worker.send(Prepared(checkpoint=waiting.name))
    waiting.worker.expect(Freeze, checkpoint=waiting.name)


def test_a_thawed_worker_takes_its_runs_over_and_a_copy_of_it_gets_nothing(waiting, connect, acme):
    waiting.worker.send(Prepared(checkpoint=waiting.name))
    waiting.worker.expect(Freeze)
    waiting.worker.socket.close()
    Checkpoint.objects.update(state="restoring")

    thawed, copy = connect(), connect()
    welcome = thawed.hello(holding=waiting.holding, checkpoint=waiting.name, can_freeze=True)
    generation = waiting.work.generation + 1
    assert (welcome.adopted, welcome.lost) == (
        [Held(run=waiting.work.run, generation=generation)], [],
    )  # fmt: skip
    lease = Lease.objects.get()
    assert (str(lease.session_id), lease.generation) == (thawed.session, generation)
    assert waiting.state() == "restored"

    told = copy.hello(holding=waiting.holding, checkpoint=waiting.name, can_freeze=True)
    assert (told.adopted, told.lost) == ([], [waiting.work.run])

    complete_token(acme.scope, waitpoint_id=waiting.token, now=clock.now())
    resume = thawed.expect(Resume)
    assert (resume.previous, resume.generation) == (generation, generation + 1)
    thawed.send(Completed(run=waiting.work.run, generation=resume.generation, attempt=1))
    thawed.expect(Settled, outcome="final")


def test_what_was_woken_while_it_was_frozen_is_resumed_at_once(waiting, connect, acme):
    waiting.worker.send(Prepared(checkpoint=waiting.name))
    waiting.worker.expect(Freeze)
    waiting.worker.socket.close()
    complete_token(acme.scope, waitpoint_id=waiting.token, output='"x"', now=clock.now())
    thawed = connect()
    thawed.hello(holding=waiting.holding, checkpoint=waiting.name, can_freeze=True)
    resume = thawed.expect(Resume)
    assert (resume.results[0].output, resume.generation) == ('"x"', waiting.work.generation + 2)
    assert waiting.state() == "failed"  # it came back before it was frozen
    thawed.send(Completed(run=waiting.work.run, generation=resume.generation, attempt=1))
    thawed.expect(Settled, outcome="final")


def test_charlies_worker_takes_nothing_over(waiting, connect):
    globex = factories.globex()
    version(globex.production, "hello")
    waiting.worker.send(Prepared(checkpoint=waiting.name))
    waiting.worker.expect(Freeze)
    his = connect(secret=globex.secret)
    told = his.hello(holding=waiting.holding, checkpoint=waiting.name, can_freeze=True)
    assert (told.adopted, told.lost) == ([], [waiting.work.run])
    assert str(Lease.objects.get().session_id) == waiting.worker.session


# -- A full worker -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def blind_process(django_db_setup, django_db_blocker) -> Iterator[LiveServer]:
    """A web process that never looks without being woken."""
    with django_db_blocker.unblock():
        database = database_url()
    with web_process(database, HOLDFAST_POLL_SECONDS="3600") as server:
        httpx.get(server.path("/health/live"), timeout=60, trust_env=False)  # until it is up
        yield server


def test_a_full_worker_gets_the_next_run_as_soon_as_one_waits(blind_process, acme):
    with ExitStack() as stack:
        worker = stack.enter_context(raw_worker(blind_process, acme.secret))
        worker.hello(capacity=1)
        trigger(acme.scope, "parent", now=clock.now())
        parent: Any = worker.expect(Execute)
        worker.send(started(parent))
        child = ask(
            acme.scope, "hello", parent_run_id=get(parent.run).pk, resume_parent=True,
            now=clock.now(),
        )  # fmt: skip
        worker.send(suspended(parent, child.waitpoint_id))
        work = worker.expect(Execute)
        assert parse_public_id("run", work.run) == child.run_id
        worker.send(started(work), Completed(run=work.run, generation=1, attempt=1))
        resume = worker.expect(Resume, run=parent.run)
        worker.send(Completed(run=parent.run, generation=resume.generation, attempt=1))
        worker.expect(Settled, run=parent.run, outcome="final")
