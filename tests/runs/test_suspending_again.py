"""A worker that repeats, or extends, what a run waits for, whatever has happened meanwhile."""

from __future__ import annotations

import pytest

from apps.core.ids import parse_public_id
from apps.runs.operations.trigger import TriggerRequest, trigger_run
from apps.runs.states import RunStatus
from tests import factories
from tests.runs.engine import NOW, Worker, completed, get, suspended, trigger, version

pytestmark = pytest.mark.django_db


@pytest.fixture
def acme():
    return factories.acme()


@pytest.fixture
def worker(acme):
    return Worker(version(acme.production, "parent", "child"))


def child_of(acme, parent):
    request = TriggerRequest(
        task="child", parent_run_id=parse_public_id("run", parent.run), resume_parent=True
    )
    return trigger_run(acme.scope, request=request, now=NOW)


def waiting_parent(acme, worker):
    """A suspended parent and its child, which is being executed."""
    trigger(acme.scope, "parent")
    (parent,) = worker.claim()
    worker.start(parent)
    child = child_of(acme, parent)
    worker.say(suspended(parent, child.waitpoint_id))
    (work,) = worker.claim()
    worker.start(work)
    return parent, child, work


def test_saying_it_again_after_the_child_has_ended_still_resumes(acme, worker):
    parent, child, work = waiting_parent(acme, worker)
    worker.say(completed(work))
    (settled,) = worker.say(suspended(parent, child.waitpoint_id))
    assert settled.outcome == "waiting"
    (resume,) = worker.resume()
    assert [result.ok for result in resume.results] == [True]


def test_waiting_for_more_after_the_child_has_ended_brings_what_has(acme, worker):
    parent, child, work = waiting_parent(acme, worker)
    second = child_of(acme, parent)
    worker.say(completed(work))
    (settled,) = worker.say(suspended(parent, child.waitpoint_id, second.waitpoint_id))
    assert settled.outcome == "waiting"
    (resume,) = worker.resume()
    assert len(resume.results) == 1
    assert get(parent.run).status == RunStatus.EXECUTING


def test_a_parent_that_gives_up_waiting_may_complete(acme, worker):
    parent, _, work = waiting_parent(acme, worker)
    worker.say(completed(work))
    worker.say(completed(parent))
    assert get(parent.run).status == RunStatus.COMPLETED
    assert worker.resume() == []
