"""Suspensions and wake-ups by the batch: all of a turn together, each as if it were alone."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from apps.core import bell
from apps.core.ids import new_id, parse_public_id
from apps.environments.models import Environment
from apps.runs.models import EnvironmentSlots, Lane, Lease, Wait, Waitpoint
from apps.runs.operations.exchange import exchange
from apps.runs.operations.reports import Report
from apps.runs.operations.waiting import waitpoint_for_run
from apps.runs.operations.waitpoints import complete_due, complete_token, create_token
from apps.runs.states import RunStatus
from holdfast.ids import new_waitpoint_id
from holdfast.protocol import Resume, Settled, Stale, Timed
from tests.runs.engine import (
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

MANY = 8
_HOUR = later(3600)


@pytest.fixture
def worker(acme):
    return Worker(version(acme.production, "parent", "child"), free=2 * MANY)


@pytest.fixture
def works(acme, worker):
    """Runs that the worker executes."""
    return start(acme, worker, MANY)


def start(acme, worker, count):
    for _ in range(count):
        trigger(acme.scope, "parent")
    works = worker.claim(free=count)
    worker.say(*map(started, works))
    return works


def token(acme):
    return create_token(acme.scope, timeout_at=_HOUR, now=NOW).waitpoint_id


def until(work, due_at, **changes):
    """The message of a run that waits for a time of its own making."""
    name = new_waitpoint_id()
    timed = Timed(id=name, due_ms=int(due_at.timestamp() * 1000))
    return suspended(work, waitpoints=[name], times=[timed], **changes)


def child_of(acme, work):
    parent_id = parse_public_id("run", work.run)
    return ask(acme.scope, "child", parent_run_id=parent_id, resume_parent=True)


def outcomes(answers):
    return {answer.run: answer.outcome for answer in answers if isinstance(answer, Settled)}


def used():
    lanes = Lane.objects.exclude(used=0)
    return EnvironmentSlots.objects.get().used, list(lanes.values_list("queue", "used"))


def statuses(works):
    return {str(get(work.run).status) for work in works}


# -- Falling asleep together -------------------------------------------------------------------


def test_runs_that_wait_for_one_token_leave_together_and_are_woken_together(acme, worker, works):
    point = token(acme)
    answers = worker.say(*(suspended(work, point, release=True) for work in works))
    assert outcomes(answers) == {work.run: "released" for work in works}
    assert (used(), Lease.objects.count()) == ((0, []), 0)
    assert unsound() == []
    assert complete_token(acme.scope, waitpoint_id=point, output='"go"', now=later(1))
    assert statuses(works) == {RunStatus.QUEUED}
    again = worker.claim(now=later(2))
    assert {each.run for each in again} == {work.run for work in works}
    assert {each.results[0].output for each in again} == {'"go"'}
    assert all(each.is_resumed for each in again)
    worker.say(*map(started, again), *map(completed, again), now=later(3))
    assert statuses(works) == {RunStatus.COMPLETED}
    assert kinds(works[0].run) == [
        "triggered", "dequeued", "started", "waiting", "woken", "dequeued", "resumed", "completed",
    ]  # fmt: skip
    assert unsound() == []


def test_held_and_released_runs_fall_asleep_in_one_turn(acme, worker, works):
    point = token(acme)
    answers = worker.say(
        *(suspended(work, point, release=n % 2 == 0) for n, work in enumerate(works))
    )
    expected = {w.run: "waiting" if n % 2 else "released" for n, w in enumerate(works)}
    assert outcomes(answers) == expected
    assert Lease.objects.filter(holds_slot=False).count() == MANY // 2
    assert unsound() == []
    complete_token(acme.scope, waitpoint_id=point, now=later(1))
    assert {each.run for each in worker.resume()} == {w.run for w in works[1::2]}
    assert {each.run for each in worker.claim()} == {w.run for w in works[::2]}
    assert unsound() == []


def test_a_stale_one_among_them_changes_nothing_and_stops_no_other(acme, worker, works):
    point, (late, *others) = token(acme), works
    answers = worker.say(
        suspended(late, point, generation=late.generation + 1),
        *(suspended(work, point, release=True) for work in others),
    )
    (stale,) = [answer for answer in answers if isinstance(answer, Stale)]
    assert stale.run == late.run
    assert get(late.run).status == RunStatus.EXECUTING
    assert not Wait.objects.filter(run_id=get(late.run).pk).exists()
    assert outcomes(answers) == {work.run: "released" for work in others}
    assert used() == (1, [("task/parent", 1)])
    assert unsound() == []


def test_one_that_waits_for_nothing_ends_and_the_others_wait(acme, worker, works):
    point, (wrong, *others) = token(acme), works
    answers = worker.say(
        suspended(wrong, new_id()), *(suspended(work, point, release=True) for work in others)
    )
    assert outcomes(answers) == {wrong.run: "final"} | {work.run: "released" for work in others}
    assert (get(wrong.run).status, used()) == (RunStatus.SYSTEM_FAILURE, (0, []))
    assert unsound() == []


def test_all_kinds_of_reports_come_in_one_turn_with_suspensions(acme, worker, works):
    point = token(acme)
    asleep, done, wrong, again, *rest = works
    answers = worker.say(
        suspended(asleep, point, release=True),
        completed(done),
        failed(wrong, retry_delay_ms=600_000),
        until(again, _HOUR, release=True),
        *(suspended(work, point) for work in rest),
    )
    assert outcomes(answers) == {
        asleep.run: "released", done.run: "final", wrong.run: "requeued", again.run: "released",
    } | {work.run: "waiting" for work in rest}  # fmt: skip
    assert used() == (0, [])
    assert unsound() == []


def test_a_parent_that_waits_for_a_child_of_the_same_turn_goes_on_with_its_worker(acme, worker):
    (parent,) = start(acme, worker, 1)
    child = child_of(acme, parent)
    (work,) = worker.claim()
    worker.start(work)
    answers = worker.say(suspended(parent, child.waitpoint_id, release=True), completed(work))
    assert outcomes(answers) == {parent.run: "waiting", work.run: "final"}
    (resume,) = worker.resume()
    assert (resume.run, [r.ok for r in resume.results]) == (parent.run, [True])
    assert unsound() == []


def test_a_chain_of_parents_falls_asleep_in_one_turn_and_is_woken_from_below(acme, worker):
    (top,) = start(acme, worker, 1)
    chain, points = [top], []
    for _ in range(3):
        points.append(child_of(acme, chain[-1]).waitpoint_id)
        (work,) = worker.claim()
        worker.start(work)
        chain.append(work)
    pairs = zip(chain[:-1], points, strict=True)
    answers = worker.say(*(suspended(work, point, release=True) for work, point in pairs))
    assert set(outcomes(answers).values()) == {"released"}
    last = chain.pop()
    while chain:
        worker.say(completed(last))
        (last,) = worker.claim()
        assert last.run == chain.pop().run
        worker.start(last)
    assert unsound() == []


def test_two_suspensions_of_one_run_in_one_turn_are_taken_in_their_order(acme, worker):
    (work,) = start(acme, worker, 1)
    first, second = token(acme), token(acme)
    answers = worker.say(
        suspended(work, first), suspended(work, first, second, release=True), completed(work)
    )
    settled = [answer.outcome for answer in answers if isinstance(answer, Settled)]
    assert settled == ["waiting", "released"]
    assert isinstance(answers[-1], Stale)  # it was let go before
    assert Wait.objects.count() == 2
    assert get(work.run).status == RunStatus.WAITING
    assert unsound() == []


def test_a_run_that_ends_in_the_turn_in_which_it_waits_is_final(acme, worker, works):
    point = token(acme)
    answers = worker.say(
        *(suspended(work, point) for work in works), *(completed(work) for work in works)
    )
    assert [a.outcome for a in answers] == ["waiting"] * MANY + ["final"] * MANY
    assert statuses(works) == {RunStatus.COMPLETED}
    assert unsound() == []


def test_those_whose_wait_is_over_are_woken_at_once_and_the_others_wait(acme, worker, works):
    done, open_one = token(acme), token(acme)
    complete_token(acme.scope, waitpoint_id=done, now=NOW)
    first, second, third, *_ = works
    answers = worker.say(
        suspended(first, done, open_one, release=True),
        suspended(second, done, open_one, need="all", release=True),
        suspended(third, done, need="all", release=True),
    )
    assert outcomes(answers) == {
        first.run: "waiting", second.run: "released", third.run: "waiting"
    }  # fmt: skip
    assert {resume.run for resume in worker.resume()} == {first.run, third.run}
    complete_token(acme.scope, waitpoint_id=open_one, now=later(1))
    (again,) = worker.claim()
    assert (again.run, len(again.results)) == (second.run, 2)
    assert unsound() == []


def test_a_turn_of_many_suspensions_asks_the_database_as_often_as_one_of_one(acme, worker, works):
    alone, *others = works

    def asked(*messages):
        reports = [
            Report(session_id=worker.session_id, run_id=parse_public_id("run", m.run), message=m)
            for m in messages
        ]
        with CaptureQueriesContext(
            connection,
        ) as queries:
            exchange(reports, [], now=NOW)
        return len(queries)

    assert asked(until(alone, _HOUR, release=True)) == asked(
        *(until(work, _HOUR, release=True) for work in others)
    )
    assert statuses(works) == {RunStatus.WAITING}


# -- Waking together ---------------------------------------------------------------------------


def test_times_that_come_wake_their_runs_and_leave_the_others(acme, worker, works):
    soon, late = works[: MANY // 2], works[MANY // 2 :]
    worker.say(
        *(until(work, later(10), release=True) for work in soon),
        *(until(work, later(99), release=True) for work in late),
    )
    assert complete_due(later(10)) == len(soon)
    assert (statuses(soon), statuses(late)) == ({RunStatus.QUEUED}, {RunStatus.WAITING})
    assert complete_due(later(10)) == 0
    assert {each.run for each in worker.claim(now=later(11))} == {work.run for work in soon}
    assert unsound(now=later(11)) == []


def test_a_time_that_came_while_its_run_fell_asleep_wakes_it(worker, works):
    answers = worker.say(*(until(work, NOW - timedelta(seconds=1)) for work in works))
    assert set(outcomes(answers).values()) == {"waiting"}
    assert len(worker.resume()) == MANY
    assert unsound() == []


def test_a_token_that_times_out_says_so_and_a_time_does_not(acme, worker, works):
    first, second, *_ = works
    worker.say(suspended(first, token(acme), release=True), until(second, later(60), release=True))
    assert complete_due(_HOUR) == 2
    results = {each.run: each.results[0] for each in worker.claim(now=_HOUR)}
    assert (results[first.run].ok, results[second.run].ok) == (False, True)
    assert results[first.run].error["code"] == "TRIGGER_WAITPOINT_TIMEOUT"


def test_a_run_woken_by_two_ends_of_one_turn_is_woken_once(acme, worker):
    (parent,) = start(acme, worker, 1)
    points = [child_of(acme, parent).waitpoint_id for _ in range(2)]
    children = worker.claim()
    worker.say(*map(started, children))
    worker.say(suspended(parent, *points, need="all", release=True))
    worker.say(*map(completed, children))
    (again,) = worker.claim()
    assert (again.run, len(again.results)) == (parent.run, 2)
    assert kinds(parent.run).count("woken") == 1
    assert unsound() == []


def test_a_woken_run_keeps_its_head_start(acme, worker):
    trigger(acme.scope, "parent", priority_seconds=0.5)
    (work,) = worker.claim()
    worker.start(work)
    worker.say(until(work, later(1), release=True))
    complete_due(later(1))
    for priority in (0.4, 0.6):  # of the same moment of creation
        trigger(acme.scope, "parent", priority_seconds=priority)
    order = [worker.claim(now=later(2), free=1)[0].run for _ in range(3)]
    assert order[1] == work.run


# -- Room --------------------------------------------------------------------------------------


@pytest.mark.parametrize("full", ["queue", "environment", "organization"])
def test_a_slot_that_a_suspension_frees_is_rung_out(full, acme, django_capture_on_commit_callbacks):
    queues = {"task/parent": 1} if full == "queue" else {}
    worker = Worker(version(acme.production, "parent", queues=queues), free=1)
    if full == "environment":
        Environment.objects.filter(pk=acme.production.pk).update(concurrency_limit=1)
    if full == "organization":
        acme.production.organization.concurrency_limit = 1
        acme.production.organization.save(update_fields=["concurrency_limit"])
    (work,) = start(acme, worker, 1)
    point = token(acme)
    rings: list[bell.Ring] = []
    with bell.heard_near(rings.append), django_capture_on_commit_callbacks(execute=True):
        worker.say(suspended(work, point))
    ready = [ring["environment"] for ring in rings if ring["kind"] == "ready"]
    assert ready == [str(acme.production.pk)]


def test_a_slot_that_others_were_free_beside_is_not_rung_out(
    acme, worker, works, django_capture_on_commit_callbacks
):
    point = token(acme)
    rings: list[bell.Ring] = []
    with bell.heard_near(rings.append), django_capture_on_commit_callbacks(execute=True):
        worker.say(*(suspended(work, point, release=True) for work in works))
    assert not [ring for ring in rings if ring["kind"] == "ready"]


def test_a_wait_for_an_end_locks_only_who_waits_for_it(acme, worker, works):
    """Many that wait for one token do not all take part in each other's turns."""
    point, (last, *others) = token(acme), works
    worker.say(*(suspended(work, point) for work in others))
    with CaptureQueriesContext(connection) as queries:
        worker.say(suspended(last, point))
    locks = [each["sql"] for each in queries if "cancel_requested_at IS NOT NULL" in each["sql"]]
    assert locks
    assert not any(str(get(work.run).pk) in text for text in locks for work in others)


def test_the_waitpoint_of_a_run_that_ends_wakes_who_waits_also_for_a_token(acme, worker):
    (waiter,) = start(acme, worker, 1)
    child = trigger(acme.scope, "child")
    with transaction.atomic():
        both = [token(acme), waitpoint_for_run(acme.production.pk, child, now=NOW)]
    (work,) = worker.claim()
    worker.start(work)
    worker.say(suspended(waiter, *both), completed(work))
    (resume,) = worker.resume()
    assert isinstance(resume, Resume)
    assert Waitpoint.objects.filter(completed_at=None).count() == 1
    assert unsound() == []


# -- What has left its process -----------------------------------------------------------------


def gone(work, *waitpoints, **changes):
    """The message of a run that has left its process, to free its place at once."""
    return suspended(work, *waitpoints, release=True, left=True, **changes)


def test_what_has_left_is_let_go_although_its_wait_is_over(acme, worker, works):
    point = token(acme)
    complete_token(acme.scope, waitpoint_id=point, now=NOW)
    answers = worker.say(*(gone(work, point, executed_ms=7) for work in works))
    assert outcomes(answers) == {work.run: "released" for work in works}
    assert (used(), Lease.objects.count()) == ((0, []), 0)
    assert unsound() == []
    other = Worker(worker.version, free=MANY)
    again = other.claim()
    assert {each.run for each in again} == {work.run for work in works}
    assert {(each.is_resumed, each.attempt_executed_ms) for each in again} == {(True, 7)}


def test_what_has_left_after_it_was_woken_is_for_any_worker(acme, worker, works):
    first, second, (work, *_) = token(acme), token(acme), works
    worker.say(suspended(work, first))
    complete_token(acme.scope, waitpoint_id=first, now=NOW)
    (answer,) = worker.say(gone(work, first, second))
    assert (answer.outcome, get(work.run).status) == ("released", RunStatus.QUEUED)
    assert unsound() == []
    (again,) = Worker(worker.version).claim()
    assert (again.run, again.is_resumed, len(again.results)) == (work.run, True, 1)
    assert worker.resume() == []
    assert unsound() == []


def test_what_has_left_is_said_again_to_no_effect(acme, worker, works):
    point, (work, *_) = token(acme), works
    worker.say(gone(work, point))
    assert isinstance(worker.say(gone(work, point))[0], Stale)
    assert unsound() == []


def test_what_leaves_after_it_was_woken_is_found_in_a_lane_that_was_closed(acme, worker, works):
    """A claim closes a lane in which only runs are ready that one worker holds."""
    point, (work, *_) = token(acme), works
    other = Worker(worker.version)
    worker.say(suspended(work, point))
    complete_token(acme.scope, waitpoint_id=point, now=NOW)
    assert other.claim() == []
    worker.say(gone(work, point))
    assert unsound() == []
    assert [again.run for again in other.claim()] == [work.run]
