"""Why is this run not running? One sentence for each state."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest

from apps.core.errors import NotFound
from apps.core.ids import new_id, public_id
from apps.deployments.models import Checkpoint, Instance, Pool, Queue, WorkerSession
from apps.environments.models import Environment
from apps.runs.operations.cancel import cancel_run
from apps.runs.operations.duties import expire
from apps.runs.operations.versions import apply_queues
from apps.runs.operations.waitpoints import create_token
from apps.runs.queries import explain
from holdfast.protocol import Timed
from tests.runs.engine import (
    NOW,
    Worker,
    ask,
    completed,
    failed,
    get,
    later,
    rejected,
    suspended,
    trigger,
    unknown_run,
    version,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def why(acme):
    return lambda run: explain(acme.scope, get(run).pk)


def connect(worker: Worker, machine: str = "") -> WorkerSession:
    return WorkerSession.objects.create(
        id=worker.session_id, environment_id=worker.version.environment_id,
        version=worker.version, machine=machine, capacity=1, coordinator=uuid4(),
        connected_at=NOW, seen_at=NOW,
    )  # fmt: skip


def test_its_task_is_unknown(acme, why):
    assert "No promoted version has a task 'unborn' yet" in why(trigger(acme.scope, "unborn"))


def test_its_time_has_not_come(acme, worker, why):
    run = trigger(acme.scope, delay_until=later(60))
    assert why(run) == "It will be queued at 2026-11-24 12:01:00 UTC."


def test_its_next_attempt_is_later(acme, worker, why):
    run = trigger(acme.scope)
    worker.say(failed(*worker.claim(), retry_delay_ms=60_000))
    assert why(run) == "It will be tried again at 2026-11-24 12:01:00 UTC."


def test_its_next_attempt_is_at_its_worker(acme, worker, why):
    run = trigger(acme.scope)
    worker.say(failed(*worker.claim(), retry_delay_ms=1_000))
    assert why(run) == "Its worker is about to try it again."


def test_workers_gave_it_back(acme, worker, why):
    run = trigger(acme.scope)
    for _ in range(4):
        worker.say(rejected(*worker.claim(), reason="no memory"))
    assert why(run) == (
        "Workers gave it back, saying 'no memory'; it is queued again at 2026-11-24 12:00:01 UTC."
    )


def test_no_worker_is_there(acme, worker, why):
    run = trigger(acme.scope)
    assert why(run) == "No worker for machine small-1x is connected."
    connect(worker, machine="large-1x")
    assert why(run) == "No worker for machine small-1x is connected."


def test_no_worker_of_its_version_is_there(acme, worker, why):
    newer = version(acme.production, "hello", number="20261124.2")
    connect(Worker(newer))
    run = trigger(acme.scope, version="20261124.1")
    assert why(run) == "No worker of version 20261124.1 for machine small-1x is connected."


def test_every_worker_is_busy(acme, worker, why):
    connect(worker)
    assert why(trigger(acme.scope)) == "No connected worker has a free place for it."


def test_others_are_ahead_of_it(acme, worker, why):
    trigger(acme.scope)
    second = trigger(acme.scope, now=later(1))
    third = trigger(acme.scope, now=later(2))
    urgent = trigger(acme.scope, now=later(3), priority_seconds=60)
    assert why(second) == "2 runs of its queue are ahead of it."
    assert why(third) == "3 runs of its queue are ahead of it."
    assert "No worker" in why(urgent)


def test_its_environment_is_paused(acme, worker, why):
    run = trigger(acme.scope)
    Environment.objects.filter(pk=acme.production.pk).update(paused_at=NOW)
    assert why(run) == "Its environment is paused."


def test_its_queue_is_paused(acme, why):
    version(acme.production, "hello", queues={"task/hello": 5})
    run = trigger(acme.scope)
    Queue.objects.update(paused_at=NOW)
    apply_queues(acme.production.pk, now=later(0))
    assert why(run) == "Its queue 'task/hello' is paused."


def test_its_queue_is_full(acme, why):
    worker = Worker(version(acme.production, "hello", queues={"task/hello": 1}))
    trigger(acme.scope)
    worker.claim()
    assert why(trigger(acme.scope)) == ("Its queue 'task/hello' is at its concurrency limit of 1.")


def test_its_key_is_busy(acme, why):
    worker = Worker(version(acme.production, "hello", queues={"task/hello": 1}))
    trigger(acme.scope, concurrency_key="bob")
    worker.claim()
    assert why(trigger(acme.scope, concurrency_key="bob")) == (
        "Its queue 'task/hello' is at its concurrency limit of 1 for key 'bob'."
    )


def test_its_environment_is_full(acme, worker, why):
    Environment.objects.filter(pk=acme.production.pk).update(concurrency_limit=1)
    trigger(acme.scope)
    worker.claim()
    assert why(trigger(acme.scope)) == "Its environment is at its concurrency limit of 1."


def test_it_is_on_its_way_and_then_executes(acme, worker, why):
    run = trigger(acme.scope)
    (work,) = worker.claim()
    assert why(run) == "A worker has been given it and is about to start it."
    worker.start(work)
    assert why(run) == "It is executing."


def test_it_waits_and_is_woken(acme, worker, why):
    run = trigger(acme.scope, "parent")
    (parent,) = worker.claim()
    worker.start(parent)
    children = [ask(acme.scope, parent_run_id=run, resume_parent=True) for _ in range(2)]
    worker.say(suspended(parent, *(child.waitpoint_id for child in children)))
    assert why(run) == (
        "It waits for 2 runs, and holds no slot. Its worker keeps the process in memory."
    )
    worker.say(completed(worker.claim()[0]))
    assert why(run) == (
        "What it waited for has happened; it goes on when its worker has a free place."
    )


def test_it_is_being_canceled(acme, worker, why):
    run = trigger(acme.scope)
    worker.start(*worker.claim())
    cancel_run(acme.scope, run_id=run, now=NOW)
    assert why(run) == "It is being canceled: its worker has been told to stop it."


def test_it_has_ended(acme, worker, why):
    done = trigger(acme.scope)
    worker.say(completed(*worker.claim()))
    late = trigger(acme.scope, ttl=timedelta(seconds=5))
    expire(later(5))
    assert why(done) == "It has ended: completed."
    assert why(late) == "It has ended: not started within 5 seconds."


def test_charlie_is_told_nothing(acme, worker, charlie):
    run = trigger(acme.scope)
    for run_id in (run, unknown_run()):
        with pytest.raises(NotFound):
            explain(charlie.scope, run_id)


def test_it_waits_for_a_person_or_for_a_time(acme, worker, why):
    run = trigger(acme.scope)
    (work,) = worker.claim()
    worker.start(work)
    token = create_token(acme.scope, timeout_at=later(90), now=NOW).waitpoint_id
    chosen = new_id()
    time = Timed(id=public_id("waitpoint", chosen), due_ms=round(later(60).timestamp() * 1000))
    worker.say(suspended(work, token, chosen, times=[time]))
    assert why(run) == (
        f"It waits for the token {public_id('waitpoint', token)}, until 2026-11-24 12:01:30 UTC or "
        "until 2026-11-24 12:01:00 UTC, and holds no slot. Its worker keeps the process in memory."
    )


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (None, "Its worker keeps the process in memory: its provider takes no snapshots."),
        ("taken", "Its process is frozen in an image, and costs nothing until then."),
    ],
)
def test_it_waits_at_a_worker_of_a_provider(acme, worker, why, state, said):
    run = trigger(acme.scope)
    (work,) = worker.claim()
    worker.start(work)
    worker.say(suspended(work, create_token(acme.scope, now=NOW).waitpoint_id))
    pool, _ = Pool.objects.get_or_create(
        name="local", defaults={"provider": "process", "created_at": NOW}
    )
    instance = Instance.objects.create(
        pool=pool, environment=acme.production, version=worker.version, machine="", created_at=NOW
    )
    WorkerSession.objects.create(
        pk=worker.session_id, environment=acme.production, version=worker.version, capacity=1,
        instance_id=instance.pk, coordinator=new_id(), connected_at=NOW, seen_at=NOW,
    )  # fmt: skip
    if state is not None:
        Checkpoint.objects.create(
            pool=pool, instance=instance, session_id=worker.session_id, state=state,
            created_at=NOW, moved_at=NOW,
        )  # fmt: skip
    assert why(run).endswith(said)
