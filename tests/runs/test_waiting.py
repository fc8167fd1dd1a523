"""Waiting: a suspended run holds no slot, and is woken once by what it waits for."""

from __future__ import annotations

import pytest

from apps.core.ids import new_id
from apps.runs.models import EnvironmentSlots, Lane, Lease, ReadyRun, Wait, Waitpoint
from apps.runs.operations.batch import BatchItemRequest, add_batch_items, create_batch
from apps.runs.operations.cancel import cancel_run
from apps.runs.operations.duties import queue_due, rescue
from apps.runs.operations.sessions import Beats, extend_leases
from apps.runs.operations.trigger import TriggerRequest
from apps.runs.operations.waiting import waitpoint_for_run
from apps.runs.states import WaitpointKind
from holdfast.protocol import Resume, Stale
from tests import factories
from tests.runs.engine import (
    ERROR,
    NOW,
    Worker,
    ask,
    completed,
    failed,
    get,
    kinds,
    later,
    started,
    suspended,
    trigger,
    unsound,
    version,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def worker(acme):
    return Worker(version(acme.production, "parent", "child"))


@pytest.fixture
def parent(acme, worker):
    """A run that the worker executes."""
    trigger(acme.scope, "parent")
    (work,) = worker.claim()
    worker.start(work)
    return work


def child_of(acme, parent, **options):
    return ask(acme.scope, "child", parent_run_id=get(parent.run).pk, resume_parent=True, **options)


def execute(worker, now=NOW):
    """Claim one child and start it."""
    (work,) = worker.claim(now=now, free=1)
    worker.start(work, now=now)
    return work


# -- One child ---------------------------------------------------------------------------------


def test_a_suspended_run_gives_its_slot_back_and_keeps_its_lease(acme, worker, parent):
    child = child_of(acme, parent)
    (answer,) = worker.say(suspended(parent, child.waitpoint_id))
    lease = Lease.objects.get()
    assert (answer.outcome, answer.generation) == ("waiting", parent.generation)
    assert get(parent.run).status == "WAITING"
    assert (lease.holds_slot, lease.is_started) == (False, True)
    assert EnvironmentSlots.objects.get().used == 0
    assert Lane.objects.get(queue="task/parent").used == 0
    assert unsound() == []


def test_the_end_of_a_child_resumes_its_parent(acme, worker, parent):
    child = child_of(acme, parent)
    worker.say(suspended(parent, child.waitpoint_id))
    work = execute(worker)
    worker.say(completed(work, output='"42"', output_type="text/x"))
    assert get(parent.run).status == "QUEUED"
    (resume,) = worker.resume()
    (result,) = resume.results
    assert (resume.generation, resume.previous) == (2, 1)
    assert (result.ok, result.run, result.output, result.output_type) == (
        True, work.run, '"42"', "text/x",
    )  # fmt: skip
    assert (get(parent.run).status, Lease.objects.get().holds_slot) == ("EXECUTING", True)
    assert unsound() == []
    (answer,) = worker.say(completed(parent, generation=2))
    assert answer.outcome == "final"
    assert kinds(parent.run) == [
        "triggered", "dequeued", "started", "waiting", "woken", "resumed", "completed",
    ]  # fmt: skip


def test_a_child_that_ended_before_its_parent_suspends_resumes_it_at_once(acme, worker, parent):
    child = child_of(acme, parent)
    worker.say(completed(execute(worker)))
    (answer,) = worker.say(suspended(parent, child.waitpoint_id))
    assert answer.outcome == "waiting"
    (resume,) = worker.resume()
    assert resume.results[0].ok
    assert unsound() == []


def test_a_child_that_fails_tells_its_parent_why(acme, worker, parent):
    child = child_of(acme, parent)
    worker.say(suspended(parent, child.waitpoint_id))
    worker.say(failed(execute(worker)))
    (result,) = worker.resume()[0].results
    assert (result.ok, result.error, result.output) == (False, ERROR, None)


@pytest.mark.parametrize("is_late", [False, True])
def test_a_child_that_is_canceled_is_no_success(acme, worker, parent, is_late):
    child = child_of(acme, parent)
    if not is_late:
        worker.say(suspended(parent, child.waitpoint_id))
    cancel_run(acme.scope, run_id=child.run_id, now=NOW)
    if is_late:
        worker.say(suspended(parent, child.waitpoint_id))
    (result,) = worker.resume()[0].results
    assert not result.ok
    assert "CANCELED" in str(result.error)


@pytest.mark.calm("it ends runs inside of its own transaction")
def test_a_waitpoint_of_a_run_that_was_canceled_before_is_no_success(acme, worker):
    run_id = trigger(acme.scope, "child")
    cancel_run(acme.scope, run_id=run_id, now=NOW)
    waitpoint_id = waitpoint_for_run(acme.production.pk, run_id, now=later(1))
    waitpoint = Waitpoint.objects.get(pk=waitpoint_id)
    assert (waitpoint.completed_at, "CANCELED" in str(waitpoint.error)) == (NOW, True)


def test_a_child_that_is_retried_keeps_its_parent_waiting(acme, worker, parent):
    child = child_of(acme, parent)
    worker.say(suspended(parent, child.waitpoint_id))
    worker.say(failed(execute(worker), outcome="crashed", retry_delay_ms=1_000))
    assert get(parent.run).status == "WAITING"
    queue_due(later(1))
    worker.say(completed(execute(worker, later(2))), now=later(3))
    assert len(worker.resume(now=later(4))) == 1


# -- Several -----------------------------------------------------------------------------------


def test_a_run_that_waits_for_any_goes_on_with_the_first_and_waits_again(acme, worker, parent):
    children = [child_of(acme, parent) for _ in range(3)]
    points = [child.waitpoint_id for child in children]
    worker.say(suspended(parent, *points))
    generation = parent.generation
    for turn in range(3):
        worker.say(completed(execute(worker)))
        (resume,) = worker.resume()
        assert len(resume.results) == 1
        generation += 1
        assert resume.generation == generation
        if turn < 2:
            worker.say(suspended(resume, *points[turn + 1 :]))
            assert get(parent.run).status == "WAITING"
    assert worker.say(completed(parent, generation=generation))[0].outcome == "final"
    assert unsound() == []


def test_what_completes_while_a_run_is_woken_comes_with_the_same_resume(acme, worker, parent):
    children = [child_of(acme, parent) for _ in range(2)]
    worker.say(suspended(parent, *(child.waitpoint_id for child in children)))
    one, two = worker.claim()
    worker.say(completed(one))
    worker.say(completed(two))
    (resume,) = worker.resume()
    assert len(resume.results) == 2
    assert kinds(parent.run).count("woken") == 1


def test_a_run_that_waits_for_all_goes_on_with_the_last(acme, worker, parent):
    children = [child_of(acme, parent) for _ in range(3)]
    worker.say(suspended(parent, *(child.waitpoint_id for child in children), need="all"))
    for left in (2, 1, 0):
        worker.say(completed(execute(worker)))
        assert len(worker.resume()) == (left == 0)
    assert unsound() == []


def test_a_run_that_waits_for_all_that_has_happened_goes_on_at_once(acme, worker, parent):
    children = [child_of(acme, parent) for _ in range(2)]
    for _ in children:
        worker.say(completed(execute(worker)))
    worker.say(suspended(parent, *(child.waitpoint_id for child in children), need="all"))
    assert len(worker.resume()[0].results) == 2


def test_one_child_may_be_waited_for_by_many(acme, worker):
    parents = []
    for _ in range(3):
        trigger(acme.scope, "parent")
        parents.append(execute(worker))
    for one in parents:
        child = child_of(acme, one, idempotency_key="shared")
        worker.say(suspended(one, child.waitpoint_id))
    assert Waitpoint.objects.count() == 1
    worker.say(completed(execute(worker)))
    assert {resume.run for resume in worker.resume()} == {one.run for one in parents}
    assert unsound() == []


def test_a_child_that_a_key_answers_with_brings_its_result(acme, worker, parent):
    trigger(acme.scope, "child", idempotency_key="k")
    worker.say(completed(execute(worker), output='"first"'))
    child = child_of(acme, parent, idempotency_key="k")
    worker.say(suspended(parent, child.waitpoint_id))
    assert worker.resume()[0].results[0].output == '"first"'


# -- Repeated and extended ---------------------------------------------------------------------


def test_saying_it_again_changes_nothing(acme, worker, parent):
    child = child_of(acme, parent)
    for _ in range(3):
        (answer,) = worker.say(suspended(parent, child.waitpoint_id))
        assert answer.outcome == "waiting"
    assert kinds(parent.run).count("waiting") == 1
    assert Wait.objects.count() == 1
    assert unsound() == []


def test_saying_it_twice_in_one_batch_changes_nothing(acme, worker, parent):
    child = child_of(acme, parent)
    message = suspended(parent, child.waitpoint_id)
    assert [answer.outcome for answer in worker.say(message, message)] == ["waiting"] * 2
    assert unsound() == []


def test_saying_it_again_after_the_child_has_ended_still_resumes(acme, worker, parent):
    child = child_of(acme, parent)
    worker.say(suspended(parent, child.waitpoint_id))
    worker.say(completed(execute(worker)))
    (answer,) = worker.say(suspended(parent, child.waitpoint_id))
    assert answer.outcome == "waiting"
    (resume,) = worker.resume()
    assert [result.ok for result in resume.results] == [True]


def test_waiting_for_more_adds_to_what_is_watched(acme, worker, parent):
    first, second = child_of(acme, parent), child_of(acme, parent)
    worker.say(suspended(parent, first.waitpoint_id))
    worker.say(suspended(parent, first.waitpoint_id, second.waitpoint_id))
    assert Wait.objects.count() == 2
    works = {get(work.run).pk: work for work in worker.claim()}
    worker.say(completed(works[second.run_id]))
    assert len(worker.resume()) == 1


def test_waiting_for_more_that_has_happened_already_resumes(acme, worker, parent):
    first, second = child_of(acme, parent), child_of(acme, parent)
    worker.say(suspended(parent, first.waitpoint_id))
    works = {get(work.run).pk: work for work in worker.claim()}
    worker.say(completed(works[second.run_id]))
    assert get(parent.run).status == "WAITING"
    worker.say(suspended(parent, first.waitpoint_id, second.waitpoint_id))
    (resume,) = worker.resume()
    assert len(resume.results) == 1


def test_waiting_for_more_after_it_was_woken_brings_what_has_happened(acme, worker, parent):
    first = child_of(acme, parent)
    worker.say(suspended(parent, first.waitpoint_id))
    second = child_of(acme, parent)
    works = {get(work.run).pk: work for work in worker.claim()}
    worker.say(completed(works[first.run_id]))
    # even one that does not name any more what woke the run
    (answer,) = worker.say(suspended(parent, second.waitpoint_id))
    assert answer.outcome == "waiting"
    (resume,) = worker.resume()
    assert [result.run for result in resume.results] == [works[first.run_id].run]
    assert get(parent.run).status == "EXECUTING"
    assert unsound() == []


# -- Waits that cannot be ----------------------------------------------------------------------


def test_a_wait_for_nothing_is_a_failure(worker, parent):
    (answer,) = worker.say(suspended(parent))
    run = get(parent.run)
    assert (answer.outcome, run.status) == ("final", "SYSTEM_FAILURE")
    assert "nothing" in run.error["message"]


def test_a_wait_for_what_does_not_exist_is_a_failure(acme, worker, parent):
    child = child_of(acme, parent)
    (answer,) = worker.say(suspended(parent, child.waitpoint_id, new_id()))
    assert (answer.outcome, get(parent.run).status) == ("final", "SYSTEM_FAILURE")
    assert unsound() == []


def test_a_wait_for_something_misspelt_is_a_failure(acme, worker, parent):
    (answer,) = worker.say(suspended(parent, waitpoints=["waitpoint_\0", "run_x"]))
    assert get(parent.run).status == "SYSTEM_FAILURE"
    assert answer.outcome == "final"


def test_nobody_waits_for_what_belongs_to_charlie(acme, worker, parent, charlie):
    theirs = Waitpoint.objects.create(
        environment=charlie.production, kind=WaitpointKind.TOKEN, created_at=NOW,
        completed_at=NOW, output='"secret"',
    )  # fmt: skip
    worker.say(suspended(parent, theirs.pk))
    assert get(parent.run).status == "SYSTEM_FAILURE"
    assert not Wait.objects.exists()
    assert worker.resume() == []


# -- Ends of a suspended run -------------------------------------------------------------------


def test_a_parent_that_gives_up_waiting_may_complete(acme, worker, parent):
    child = child_of(acme, parent)
    worker.say(suspended(parent, child.waitpoint_id))
    (answer,) = worker.say(completed(parent))
    assert (answer.outcome, get(parent.run).status) == ("final", "COMPLETED")
    worker.say(completed(execute(worker)))
    assert worker.resume() == []
    assert unsound() == []


def test_a_parent_that_was_woken_may_complete_first(acme, worker, parent):
    child = child_of(acme, parent)
    worker.say(suspended(parent, child.waitpoint_id))
    worker.say(completed(execute(worker)))
    worker.say(completed(parent))
    assert get(parent.run).status == "COMPLETED"
    assert not ReadyRun.objects.exists()
    assert worker.resume() == []


def test_what_ended_while_it_was_resumed_is_stale_and_said_again(acme, worker, parent):
    child = child_of(acme, parent)
    worker.say(suspended(parent, child.waitpoint_id))
    worker.say(completed(execute(worker)))
    (resume,) = worker.resume()
    assert isinstance(worker.say(completed(parent))[0], Stale)
    assert worker.say(completed(parent, generation=resume.generation))[0].outcome == "final"


@pytest.mark.parametrize("is_woken", [False, True])
def test_a_suspended_run_that_fails_is_not_retried_in_a_slot_it_has_not(
    acme, worker, parent, is_woken
):
    child = child_of(acme, parent)
    worker.say(suspended(parent, child.waitpoint_id))
    if is_woken:
        worker.say(completed(execute(worker)))
    (answer,) = worker.say(failed(parent, retry_delay_ms=0))
    assert (answer.outcome, get(parent.run).status) == ("requeued", "QUEUED")
    assert not Wait.objects.exists()
    assert unsound() == []
    again = {work.run: work for work in worker.claim()}[parent.run]
    assert (again.attempt, again.generation) == (2, 2)


def test_a_suspended_run_is_canceled_at_once(acme, worker, parent):
    child = child_of(acme, parent)
    worker.say(suspended(parent, child.waitpoint_id))
    run = cancel_run(acme.scope, run_id=get(parent.run).pk, now=later(1))
    assert run.status == "CANCELED"
    assert get(child.run_id).status == "CANCELED"
    beats = [Beats(session_id=worker.session_id, generations={run.pk: parent.generation})]
    (answer,) = extend_leases(beats, now=later(2)).answers
    assert isinstance(answer.message, Stale)
    assert unsound() == []


def test_a_run_that_is_being_canceled_does_not_wait(acme, worker, parent):
    child = child_of(acme, parent)
    cancel_run(acme.scope, run_id=get(parent.run).pk, reason="stop", now=later(1))
    (answer,) = worker.say(suspended(parent, child.waitpoint_id))
    run = get(parent.run)
    assert (answer.outcome, run.status, run.status_reason) == ("final", "CANCELED", "stop")


# -- Lost workers, broken connections ----------------------------------------------------------


@pytest.mark.parametrize("is_woken", [False, True])
def test_a_run_whose_worker_is_lost_while_it_waits_is_tried_again(acme, worker, parent, is_woken):
    child = child_of(acme, parent)
    worker.say(suspended(parent, child.waitpoint_id))
    if is_woken:
        worker.say(completed(execute(worker)))
    assert rescue(later(61)) == 1
    run = get(parent.run)
    assert (run.status, run.attempt_count) == ("DELAYED", 1)
    assert unsound() == []
    queue_due(run.delayed_until)
    other = Worker(worker.version)
    again = {work.task: work for work in other.claim(now=later(200))}["parent"]
    assert (again.attempt, again.run) == (2, parent.run)
    assert unsound() == []


def test_a_suspended_run_without_attempts_left_crashes_with_its_worker(acme):
    worker = Worker(version(acme.production, "parent", "child", retry={"maxAttempts": 1}))
    trigger(acme.scope, "parent")
    parent = execute(worker)
    child = child_of(acme, parent)
    worker.say(suspended(parent, child.waitpoint_id))
    rescue(later(61))
    run = get(parent.run)
    assert (run.status, run.error["code"]) == ("CRASHED", "TASK_RUN_HEARTBEAT_TIMEOUT")
    assert unsound() == []


def test_only_the_worker_that_holds_the_process_resumes_it(acme, worker, parent):
    child = child_of(acme, parent)
    worker.say(suspended(parent, child.waitpoint_id))
    worker.say(completed(execute(worker)))
    other = Worker(worker.version)
    assert (other.resume(), other.claim()) == ([], [])
    assert len(worker.resume()) == 1


def test_a_resume_that_was_missed_is_sent_again_with_a_beat(acme, worker, parent):
    child = child_of(acme, parent)
    worker.say(suspended(parent, child.waitpoint_id))
    worker.say(completed(execute(worker)))
    (resume,) = worker.resume()
    run_id = get(parent.run).pk
    told = [Beats(session_id=worker.session_id, generations={run_id: parent.generation})]
    (again,) = extend_leases(told, now=later(20)).answers
    assert again.message == resume
    told = [Beats(session_id=worker.session_id, generations={run_id: resume.generation})]
    assert extend_leases(told, now=later(21)).answers == []


def test_a_resumed_run_may_suspend_under_its_new_generation_only(acme, worker, parent):
    first, second = child_of(acme, parent), child_of(acme, parent)
    worker.say(suspended(parent, first.waitpoint_id))
    works = {get(work.run).pk: work for work in worker.claim()}
    worker.say(completed(works[first.run_id]))
    (resume,) = worker.resume()
    assert isinstance(worker.say(suspended(parent, second.waitpoint_id))[0], Stale)
    assert worker.say(suspended(resume, second.waitpoint_id))[0].outcome == "waiting"


# -- Slots -------------------------------------------------------------------------------------


def test_a_resume_waits_for_a_slot(acme):
    worker = Worker(version(acme.production, "parent", "child", queues={"task/parent": 1}))
    trigger(acme.scope, "parent")
    parent = execute(worker)
    child = child_of(acme, parent)
    worker.say(suspended(parent, child.waitpoint_id))
    trigger(acme.scope, "parent")
    works = {work.task: work for work in worker.claim()}
    worker.start(works["parent"])
    worker.say(completed(works["child"]))
    assert worker.resume() == []
    worker.say(completed(works["parent"]))
    assert len(worker.resume()) == 1
    assert unsound() == []


def test_a_resume_waits_for_the_environment(acme, worker, parent):
    child = child_of(acme, parent)
    worker.say(suspended(parent, child.waitpoint_id))
    worker.say(completed(execute(worker)))
    acme.production.concurrency_limit = 1
    acme.production.save(update_fields=["concurrency_limit"])
    trigger(acme.scope, "child")
    other = Worker(worker.version)
    (busy,) = other.claim()
    assert worker.resume() == []
    other.say(started(busy), completed(busy))
    assert len(worker.resume()) == 1


def test_a_woken_run_comes_before_new_ones(acme, worker, parent):
    child = child_of(acme, parent)
    worker.say(suspended(parent, child.waitpoint_id))
    worker.say(completed(execute(worker)))
    trigger(acme.scope, "child", priority_seconds=100)
    worker.free = 1
    assert len(worker.resume()) == 1


# -- Batches -----------------------------------------------------------------------------------


def test_a_parent_waits_for_its_whole_batch(acme, worker, parent):
    batch = create_batch(
        acme.scope, run_count=3, parent_run_id=get(parent.run).pk, resume_parent=True, now=NOW
    )
    items = [BatchItemRequest(index=n, request=TriggerRequest(task="child")) for n in range(3)]
    add_batch_items(acme.scope, batch_id=batch.batch_id, items=items, now=NOW)
    worker.say(suspended(parent, batch.waitpoint_id))
    for _ in range(3):
        assert worker.resume() == []
        worker.say(completed(execute(worker)))
    (resume,) = worker.resume()
    assert [(result.ok, result.run) for result in resume.results] == [(True, None)]
    assert unsound() == []


def test_a_batch_that_was_done_before_the_parent_suspends_resumes_it(acme, worker, parent):
    batch = create_batch(
        acme.scope, run_count=1, parent_run_id=get(parent.run).pk, resume_parent=True, now=NOW
    )
    items = [BatchItemRequest(index=0, request=TriggerRequest(task="child"))]
    add_batch_items(acme.scope, batch_id=batch.batch_id, items=items, now=NOW)
    worker.say(completed(execute(worker)))
    worker.say(suspended(parent, batch.waitpoint_id))
    assert isinstance(worker.resume()[0], Resume)


def test_in_development_a_waiting_parent_is_tried_again_with_newer_code(acme):
    scope = factories.key_scope(acme.development)
    worker = Worker(version(acme.development, "parent", "child"))
    trigger(scope, "parent")
    parent = execute(worker)
    child = ask(scope, "child", parent_run_id=get(parent.run).pk, resume_parent=True)
    worker.say(suspended(parent, child.waitpoint_id))
    newer = Worker(version(acme.development, "parent", "child", number="20261124.2"))
    rescue(later(61))
    queue_due(later(200))
    again = {work.task: work for work in newer.claim(now=later(201))}
    assert again["parent"].attempt == 2
