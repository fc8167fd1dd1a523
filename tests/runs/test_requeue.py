"""Runs that are put back: only those that nobody is at work on, under the fence of the lease."""

from __future__ import annotations

import pytest

from apps.core.errors import Conflict, NotFound
from apps.core.ids import new_id
from apps.deployments.models import WorkerSession
from apps.orgs.models import AuditEntry
from apps.runs.models import Lease
from apps.runs.operations.duties import queue_due, rescue
from apps.runs.operations.requeue import requeue_run
from holdfast.protocol import Stale
from tests.runs.engine import NOW, completed, get, later, trigger

pytestmark = pytest.mark.django_db


def requeue(acme, run_id, seconds: float = 5):
    return requeue_run(acme.scope, run_id=run_id, now=later(seconds))


def test_a_run_of_a_lost_worker_is_taken_back_at_the_next_look(acme, worker):
    run = trigger(acme.scope)
    (work,) = worker.claim()
    assert rescue(later(6)) == 0, "its lease would last longer"
    requeue(acme, run)
    assert rescue(later(6)) == 1
    assert get(run).status == "QUEUED"
    assert not Lease.objects.filter(pk=run).exists()
    assert AuditEntry.objects.get(action="run.requeued").detail == {"status": "DEQUEUED"}
    (answer,) = worker.say(completed(work), now=later(7))
    assert isinstance(answer, Stale), "who had it is fenced out"


def test_a_started_attempt_counts(acme, worker):
    run = trigger(acme.scope)
    (work,) = worker.claim()
    worker.start(work)
    requeue(acme, run)
    rescue(later(6))
    assert get(run).attempt_count == 1
    assert get(run).status in ("DELAYED", "QUEUED")


def test_a_delayed_run_is_queued_at_the_next_look(acme, worker):
    run = trigger(acme.scope, delay_until=later(3_600))
    requeue(acme, run)
    queue_due(later(6))
    assert get(run).status == "QUEUED"


def test_a_run_whose_worker_is_connected_stays_with_it(acme, worker):
    run = trigger(acme.scope)
    worker.claim()
    WorkerSession.objects.create(
        id=worker.session_id, environment=acme.production, version=worker.version, capacity=1,
        coordinator=new_id(), connected_at=NOW, seen_at=NOW,
    )  # fmt: skip
    with pytest.raises(Conflict, match="its worker is connected"):
        requeue(acme, run)
    assert rescue(later(6)) == 0


def test_what_no_worker_has_is_refused(acme, worker):
    run = trigger(acme.scope)
    with pytest.raises(Conflict, match="no worker has this run"):
        requeue(acme, run)


def test_charlie_finds_nothing(acme, worker, charlie):
    run = trigger(acme.scope)
    worker.claim()
    with pytest.raises(NotFound):
        requeue(charlie, run)
