"""Canceling: at once what no worker executes, by its worker what one does, and all descendants."""

from __future__ import annotations

from datetime import timedelta

import pytest

from apps.core.errors import NotFound
from apps.runs.limits import limits
from apps.runs.models import Attempt, IdempotencyKey, Lease, PendingRun, ReadyRun, RunEvent, Timer
from apps.runs.operations.cancel import cancel_run
from apps.runs.operations.duties import end_overdue_cancellations, rescue
from apps.runs.operations.sessions import Beats, extend_leases
from apps.runs.states import TimerKind
from holdfast.protocol import Cancel, Stale
from tests.runs.engine import (
    NOW,
    ask,
    completed,
    failed,
    get,
    kinds,
    later,
    rejected,
    started,
    suspended,
    trigger,
    unknown_run,
    unsound,
)

pytestmark = pytest.mark.django_db


def cancel(acme, run, reason="", now=NOW):
    return cancel_run(acme.scope, run_id=get(run).pk, reason=reason, now=now)


def beat(worker, *works, now=NOW):
    generations = {get(work.run).pk: work.generation for work in works}
    beats = [Beats(session_id=worker.session_id, generations=generations)]
    return [answer.message for answer in extend_leases(beats, now=now).answers]


# -- What no worker executes -------------------------------------------------------------------


def test_a_queued_run_ends_at_once(acme, worker):
    run = cancel(acme, trigger(acme.scope), "not needed")
    assert (run.status, run.status_reason, run.finished_at) == ("CANCELED", "not needed", NOW)
    assert not ReadyRun.objects.exists()
    assert worker.claim() == []
    assert unsound() == []


def test_a_delayed_run_ends_at_once(acme, worker):
    run = cancel(acme, trigger(acme.scope, delay_until=later(60), ttl=timedelta(seconds=5)))
    assert (run.status, run.delayed_until) == ("CANCELED", None)
    assert not Timer.objects.exists()


def test_a_run_that_waits_for_its_version_ends_at_once(acme):
    assert cancel(acme, trigger(acme.scope, "unborn")).status == "CANCELED"
    assert not PendingRun.objects.exists()


def test_a_run_that_waits_for_its_next_attempt_ends_at_once(acme, worker):
    run_id = trigger(acme.scope)
    (work,) = worker.claim()
    worker.say(failed(work, retry_delay_ms=60_000))
    assert cancel(acme, run_id).status == "CANCELED"
    assert unsound() == []


def test_a_canceled_run_gives_its_key_back(acme, worker):
    cancel(acme, trigger(acme.scope, idempotency_key="k"))
    assert not IdempotencyKey.objects.exists()


# -- What a worker executes --------------------------------------------------------------------


def test_an_executing_run_is_asked_and_ends_when_its_worker_says_so(acme, worker):
    trigger(acme.scope)
    (work,) = worker.claim()
    worker.start(work)
    run = cancel(acme, work.run, "wrong one")
    assert (run.status, run.cancel_requested_at) == ("EXECUTING", NOW)
    (message,) = beat(worker, work)
    assert message == Cancel(
        run=work.run, generation=1, grace_seconds=limits().cancel_grace_seconds, reason="wrong one"
    )
    worker.say(failed(work, outcome="canceled", error={"type": "STRING_ERROR", "raw": "stopped"}))
    run = get(work.run)
    assert (run.status, run.status_reason) == ("CANCELED", "wrong one")
    assert Attempt.objects.get().status == "CANCELED"
    assert RunEvent.objects.get(kind="canceled").detail == {"reason": "wrong one"}
    assert unsound() == []


def test_a_run_that_completes_before_it_is_stopped_has_completed(acme, worker):
    trigger(acme.scope)
    (work,) = worker.claim()
    worker.start(work)
    cancel(acme, work.run)
    worker.say(completed(work))
    assert get(work.run).status == "COMPLETED"
    assert unsound() == []


def test_a_run_on_its_way_to_a_worker_is_asked(acme, worker):
    trigger(acme.scope)
    (work,) = worker.claim()
    assert cancel(acme, work.run).status == "DEQUEUED"
    assert isinstance(beat(worker, work)[0], Cancel)
    worker.say(failed(work, outcome="canceled"))
    run = get(work.run)
    assert (run.status, run.attempt_count) == ("CANCELED", 0)
    assert not Attempt.objects.exists()
    assert unsound() == []


def test_a_canceled_run_that_was_never_delivered_ends(acme, worker):
    run_id = trigger(acme.scope)
    worker.claim()
    cancel(acme, run_id, "why not")
    assert rescue(later(limits().delivery_seconds)) == 1
    run = get(run_id)
    assert (run.status, run.status_reason) == ("CANCELED", "why not")
    assert worker.claim() == []


def test_a_canceled_run_that_is_given_back_ends(acme, worker):
    run_id = trigger(acme.scope)
    (work,) = worker.claim()
    cancel(acme, run_id)
    (answer,) = worker.say(rejected(work))
    assert (answer.outcome, get(run_id).status) == ("final", "CANCELED")
    assert worker.claim() == []


def test_a_run_between_two_attempts_at_its_worker_is_asked(acme, worker):
    trigger(acme.scope)
    (work,) = worker.claim()
    worker.say(failed(work, retry_delay_ms=2_000))
    assert cancel(acme, work.run).status == "EXECUTING"
    assert isinstance(beat(worker, work)[0], Cancel)
    (answer,) = worker.say(failed(work, outcome="canceled", attempt=2))
    run = get(work.run)
    assert (answer.outcome, run.status, run.attempt_count) == ("final", "CANCELED", 1)
    assert unsound() == []


def test_a_canceled_run_whose_worker_is_lost_ends(acme, worker):
    trigger(acme.scope)
    (work,) = worker.claim()
    worker.start(work)
    cancel(acme, work.run)
    rescue(later(limits().lease_seconds))
    assert get(work.run).status == "CANCELED"


# -- Too late, too long ------------------------------------------------------------------------


def test_a_worker_that_does_not_stop_loses_the_run(acme, worker):
    trigger(acme.scope)
    (work,) = worker.claim()
    worker.start(work)
    cancel(acme, work.run, "stop")
    patience = limits().cancel_grace_seconds + 2 * limits().beat_seconds
    assert Timer.objects.get(kind=TimerKind.CANCEL).due_at == later(patience)
    assert beat(worker, work, now=later(patience - 1)) != []
    assert end_overdue_cancellations(later(patience - 1)) == 0
    assert end_overdue_cancellations(later(patience)) == 1
    run = get(work.run)
    assert (run.status, run.status_reason) == ("CANCELED", "stop; its worker did not stop in time")
    assert isinstance(worker.say(completed(work))[0], Stale)
    assert unsound() == []


def test_asking_again_does_not_give_it_more_time(acme, worker):
    trigger(acme.scope)
    (work,) = worker.claim()
    worker.start(work)
    cancel(acme, work.run, "first")
    run = cancel(acme, work.run, "second", now=later(10))
    assert (run.cancel_requested_at, run.status_reason) == (NOW, "first")
    assert kinds(work.run).count("cancel_requested") == 1
    assert Timer.objects.count() == 1


def test_a_run_that_has_ended_stays_as_it_is(acme, worker):
    trigger(acme.scope)
    (work,) = worker.claim()
    worker.say(completed(work))
    before = kinds(work.run)
    run = cancel(acme, work.run)
    assert (run.status, run.cancel_requested_at) == ("COMPLETED", None)
    assert kinds(work.run) == before


def test_canceling_twice_is_canceling_once(acme, worker):
    run_id = trigger(acme.scope)
    cancel(acme, run_id, "first")
    assert cancel(acme, run_id, "second").status_reason == "first"
    assert kinds(run_id) == ["triggered", "canceled"]


# -- Families ----------------------------------------------------------------------------------


def test_a_whole_tree_is_canceled(acme, worker):
    trigger(acme.scope, "parent")
    (parent,) = worker.claim()
    worker.start(parent)
    top = get(parent.run).pk
    waited = ask(acme.scope, parent_run_id=top, resume_parent=True)
    worker.say(suspended(parent, waited.waitpoint_id))
    queued = trigger(acme.scope, parent_run_id=top)
    delayed = trigger(acme.scope, parent_run_id=waited.run_id, delay_until=later(60))
    (first,) = worker.claim(free=1)
    worker.start(first)
    stranger = trigger(acme.scope)
    assert cancel(acme, top, "all of it").status == "CANCELED"
    assert get(first.run).cancel_requested_at is not None
    assert [get(run_id).status for run_id in (queued, delayed)] == ["CANCELED"] * 2
    assert get(stranger).status == "QUEUED"
    worker.say(failed(first, outcome="canceled"))
    assert unsound() == []


def test_children_of_a_child_that_has_ended_are_canceled_too(acme, worker):
    trigger(acme.scope, "parent")
    (parent,) = worker.claim()
    worker.start(parent)
    child = trigger(acme.scope, parent_run_id=get(parent.run).pk)
    (work,) = worker.claim()
    worker.start(work)
    grandchild = trigger(acme.scope, parent_run_id=child)
    worker.say(completed(work))
    cancel(acme, parent.run)
    assert (get(child).status, get(grandchild).status) == ("COMPLETED", "CANCELED")


def test_children_of_a_run_that_has_ended_go_on(acme, worker):
    trigger(acme.scope, "parent")
    (parent,) = worker.claim()
    worker.start(parent)
    child = trigger(acme.scope, parent_run_id=get(parent.run).pk)
    worker.say(completed(parent))
    cancel(acme, parent.run)
    assert get(child).status == "QUEUED"


def test_a_canceled_child_wakes_its_parent(acme, worker):
    trigger(acme.scope, "parent")
    (parent,) = worker.claim()
    worker.start(parent)
    child = ask(acme.scope, parent_run_id=get(parent.run).pk, resume_parent=True)
    worker.say(suspended(parent, child.waitpoint_id))
    cancel(acme, child.run_id)
    (resume,) = worker.resume()
    assert not resume.results[0].ok


def test_a_woken_run_is_canceled_at_once(acme, worker):
    trigger(acme.scope, "parent")
    (parent,) = worker.claim()
    worker.start(parent)
    child = ask(acme.scope, parent_run_id=get(parent.run).pk, resume_parent=True)
    worker.say(suspended(parent, child.waitpoint_id))
    (work,) = worker.claim()
    worker.say(started(work), completed(work))
    assert get(parent.run).status == "QUEUED"
    assert cancel(acme, parent.run).status == "CANCELED"
    assert not Lease.objects.exists()
    assert worker.resume() == []
    assert unsound() == []


# -- Tenancy -----------------------------------------------------------------------------------


def test_charlie_cannot_cancel_what_is_not_his(acme, worker, charlie):
    run_id = trigger(acme.scope)
    with pytest.raises(NotFound):
        cancel_run(charlie.scope, run_id=run_id, now=NOW)
    assert get(run_id).status == "QUEUED"


def test_what_does_not_exist_is_not_found(acme):
    with pytest.raises(NotFound):
        cancel_run(acme.scope, run_id=unknown_run(), now=NOW)
