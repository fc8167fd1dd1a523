"""Tokens and times: what is completed from outside of runs, once, and wakes every waiter once."""

from __future__ import annotations

from datetime import timedelta

import pytest

from apps.core import clock
from apps.core.errors import Conflict, Forbidden, Invalid, NotFound, TooLarge
from apps.core.ids import new_id, public_id
from apps.orgs.roles import Role
from apps.runs.models import EnvironmentSlots, Wait, Waitpoint
from apps.runs.operations.cancel import cancel_run
from apps.runs.operations.duties import queue_due, rescue
from apps.runs.operations.waitpoints import (
    block_run,
    complete_called_back,
    complete_due,
    complete_token,
    create_token,
    forget_waitpoints,
)
from holdfast.protocol import Timed
from tests import factories
from tests.runs.engine import (
    NOW,
    Worker,
    completed,
    execute,
    failed,
    get,
    kinds,
    later,
    suspended,
    unsound,
    version,
)
from tests.runs.threads import one_before_other, together

pytestmark = pytest.mark.django_db

_ROUNDS = 8


def token(acme, **options):
    return create_token(acme.scope, now=NOW, **options).waitpoint_id


def complete(acme, waitpoint_id, output='"yes"', *, now=NOW):
    return complete_token(acme.scope, waitpoint_id=waitpoint_id, output=output, now=now)


def timed(seconds, waitpoint_id=None):
    """A time that a run waits for, and its id."""
    chosen = waitpoint_id or new_id()
    due_ms = round(later(seconds).timestamp() * 1000)
    return chosen, Timed(id=public_id("waitpoint", chosen), due_ms=due_ms)


def wait_for_time(worker, work, seconds, **changes):
    chosen, time = timed(seconds)
    worker.say(suspended(work, chosen, times=[time], **changes))
    return chosen


# -- Times -------------------------------------------------------------------------------------


def test_a_run_that_waits_for_a_time_holds_no_slot_until_it_has_come(acme, worker, work):
    wait_for_time(worker, work, 60)
    assert (get(work.run).status, EnvironmentSlots.objects.get().used) == ("WAITING", 0)
    assert complete_due(later(59)) == 0
    assert worker.resume(now=later(59)) == []
    assert complete_due(later(60)) == 1
    (resume,) = worker.resume(now=later(60))
    (result,) = resume.results
    assert (result.ok, result.output, result.run) == (True, None, None)
    assert worker.say(completed(work, generation=resume.generation))[0].outcome == "final"
    assert kinds(work.run) == [
        "triggered", "dequeued", "started", "waiting", "woken", "resumed", "completed",
    ]  # fmt: skip
    assert unsound() == []


@pytest.mark.parametrize("seconds", [0, -3600])
def test_a_time_that_is_over_resumes_at_once(worker, work, seconds):
    wait_for_time(worker, work, seconds)
    assert len(worker.resume()) == 1
    assert unsound() == []


def test_a_time_is_exact_whatever_order_times_come_in(acme, worker):
    works = [execute(acme.scope, worker) for _ in range(3)]
    for work, seconds in zip(works, (30, 10, 20), strict=True):
        wait_for_time(worker, work, seconds)
    woken = []
    for second in range(31):
        complete_due(later(second))
        woken += [(second, resume.run) for resume in worker.resume(now=later(second))]
    assert woken == [(10, works[1].run), (20, works[2].run), (30, works[0].run)]


def test_saying_again_that_it_waits_for_a_time_keeps_the_first(worker, work):
    chosen, first = timed(60)
    _, moved = timed(5, chosen)
    worker.say(suspended(work, chosen, times=[first]))
    worker.say(suspended(work, chosen, times=[moved]))
    assert Waitpoint.objects.get().due_at == later(60)
    assert kinds(work.run).count("waiting") == 1


def test_the_first_of_several_times_resumes_and_the_others_are_forgotten(worker, work):
    (one, at_one), (two, at_two) = timed(10), timed(20)
    worker.say(suspended(work, one, two, times=[at_one, at_two]))
    complete_due(later(10))
    (resume,) = worker.resume(now=later(10))
    assert [result.id for result in resume.results] == [public_id("waitpoint", one)]
    worker.say(completed(work, generation=resume.generation))
    assert complete_due(later(20)) == 1
    assert (get(work.run).status, Wait.objects.count()) == ("COMPLETED", 0)
    assert unsound() == []


def test_a_run_may_wait_for_all_of_several_times(worker, work):
    (one, at_one), (two, at_two) = timed(10), timed(20)
    worker.say(suspended(work, one, two, times=[at_one, at_two], need="all"))
    complete_due(later(10))
    assert worker.resume(now=later(10)) == []
    complete_due(later(20))
    assert len(worker.resume(now=later(20))[0].results) == 2


def test_a_time_of_the_far_future_is_bounded(worker, work):
    chosen = new_id()
    name = public_id("waitpoint", chosen)
    worker.say(suspended(work, chosen, times=[Timed(id=name, due_ms=10**30)]))
    assert Waitpoint.objects.get().due_at.year == 3000


def test_another_worker_makes_no_times_for_a_run(acme, work):
    stranger = Worker(version(acme.staging, "hello"))
    chosen, time = timed(10)
    stranger.say(suspended(work, chosen, times=[time]))
    assert not Waitpoint.objects.exists()
    assert get(work.run).status == "EXECUTING"


def test_nobody_takes_over_a_waitpoint_of_charlies_as_a_time(acme, worker, work, charlie):
    theirs = create_token(charlie.scope, now=NOW).waitpoint_id
    chosen, time = timed(10, theirs)
    worker.say(suspended(work, chosen, times=[time]))
    assert get(work.run).status == "SYSTEM_FAILURE"
    assert Waitpoint.objects.get().due_at == later(600)


def test_more_times_than_one_bite_are_all_completed(acme, worker, work, monkeypatch):
    monkeypatch.setattr("apps.runs.operations.waitpoints.BITE", 2)
    pairs = [timed(n) for n in range(1, 6)]
    worker.say(suspended(work, *(p[0] for p in pairs), times=[p[1] for p in pairs], need="all"))
    assert [complete_due(later(9)) for _ in range(4)] == [2, 2, 1, 0]
    assert len(worker.resume(now=later(9))) == 1


# -- Tokens ------------------------------------------------------------------------------------


def test_a_completed_token_resumes_its_run_with_what_it_was_given(acme, worker, work):
    approval = token(acme)
    worker.say(suspended(work, approval))
    assert complete(acme, approval, '{"ok": true}', now=later(5)) is True
    (resume,) = worker.resume(now=later(5))
    (result,) = resume.results
    assert (result.id, result.ok, result.output) == (
        public_id("waitpoint", approval), True, '{"ok": true}',
    )  # fmt: skip
    assert unsound() == []


def test_a_token_that_was_completed_before_resumes_at_once(acme, worker, work):
    approval = token(acme)
    complete(acme, approval)
    worker.say(suspended(work, approval))
    assert worker.resume()[0].results[0].output == '"yes"'


def test_a_token_completes_once(acme, worker, work):
    approval = token(acme)
    worker.say(suspended(work, approval))
    assert complete(acme, approval, '"first"') is True
    assert complete(acme, approval, '"second"', now=later(1)) is False
    assert complete_called_back(waitpoint_id=approval, output=None, now=later(2)) is False
    (resume,) = worker.resume()
    assert resume.results[0].output == '"first"'
    assert Waitpoint.objects.get().completed_at == NOW
    assert kinds(work.run).count("woken") == 1


def test_a_token_wakes_everybody_who_waits_for_it_once(acme, worker):
    works = [execute(acme.scope, worker) for _ in range(3)]
    approval = token(acme)
    for work in works:
        worker.say(suspended(work, approval))
    complete(acme, approval)
    assert {resume.run for resume in worker.resume()} == {work.run for work in works}
    assert [kinds(work.run).count("woken") for work in works] == [1, 1, 1]
    assert unsound() == []


def test_a_token_that_nobody_completes_times_out(acme, worker, work):
    approval = token(acme, timeout_at=later(60))
    worker.say(suspended(work, approval))
    assert complete_due(later(60)) == 1
    (resume,) = worker.resume(now=later(60))
    (result,) = resume.results
    assert (result.ok, result.error["code"]) == (False, "TRIGGER_WAITPOINT_TIMEOUT")
    assert Waitpoint.objects.get().status == "TIMED_OUT"
    assert complete(acme, approval, now=later(61)) is False


def test_a_token_times_out_after_ten_minutes_unless_it_says_otherwise(acme):
    token(acme)
    assert Waitpoint.objects.get().due_at == later(600)
    assert complete_due(later(599)) == 0
    assert complete_due(later(600)) == 1


def test_a_completed_token_never_times_out(acme):
    approval = token(acme, timeout_at=later(60))
    complete(acme, approval)
    assert complete_due(later(61)) == 0
    assert Waitpoint.objects.get().status == "COMPLETED"


def test_a_key_answers_with_the_token_that_has_it_while_it_lives(acme):
    first = create_token(acme.scope, idempotency_key="k", now=NOW)
    again = create_token(acme.scope, idempotency_key="k", now=later(3_599))
    after = create_token(acme.scope, idempotency_key="k", now=later(3_601))
    assert (first.is_cached, again.is_cached, after.is_cached) == (False, True, False)
    assert first.waitpoint_id == again.waitpoint_id != after.waitpoint_id


def test_a_key_answers_with_a_token_that_is_over_too(acme):
    approval = token(acme, idempotency_key="k")
    complete(acme, approval)
    assert token(acme, idempotency_key="k") == approval


def test_keys_are_of_one_environment(acme, charlie):
    assert (
        create_token(charlie.scope, idempotency_key="k", now=NOW).waitpoint_id
        != create_token(acme.scope, idempotency_key="k", now=NOW).waitpoint_id
    )


def test_charlie_completes_no_token_of_alices(acme, charlie):
    approval = token(acme)
    with pytest.raises(NotFound):
        complete_token(charlie.scope, waitpoint_id=approval, now=NOW)
    assert Waitpoint.objects.get().completed_at is None


def test_nobody_waits_for_a_token_of_charlies(acme, worker, work, charlie):
    theirs = create_token(charlie.scope, now=NOW).waitpoint_id
    worker.say(suspended(work, theirs))
    assert get(work.run).status == "SYSTEM_FAILURE"


def test_what_stands_for_a_time_or_a_run_is_no_token(acme, worker, work):
    chosen = wait_for_time(worker, work, 60)
    with pytest.raises(NotFound):
        complete(acme, chosen)
    with pytest.raises(NotFound):
        complete_called_back(waitpoint_id=chosen, output=None, now=NOW)


def test_a_token_has_bounds(acme):
    for wrong in (
        {"tags": [str(n) for n in range(11)]},
        {"tags": [""]},
        {"idempotency_key": ""},
        {"idempotency_key": "k", "idempotency_ttl": later(0) - later(1)},
    ):
        with pytest.raises(Invalid):
            token(acme, **wrong)
    with pytest.raises(TooLarge):
        complete(acme, token(acme), "x" * (3 * 1024 * 1024 + 1))


def test_a_viewer_neither_makes_nor_completes_tokens(acme):
    approval = token(acme)
    viewer = factories.user_scope(acme.production, factories.person("vic"), Role.VIEWER)
    with pytest.raises(Forbidden):
        create_token(viewer, now=NOW)
    with pytest.raises(Forbidden):
        complete_token(viewer, waitpoint_id=approval, now=NOW)


# -- Mixed, and what happens to who waits -------------------------------------------------------


def test_a_run_waits_for_a_token_or_a_time_whichever_comes_first(acme, worker, work):
    approval = token(acme, timeout_at=later(3_600))
    chosen, time = timed(60)
    worker.say(suspended(work, approval, chosen, times=[time]))
    complete_due(later(60))
    (resume,) = worker.resume(now=later(60))
    assert [result.id for result in resume.results] == [public_id("waitpoint", chosen)]
    # the loser completes later, and that is nothing to a run that does not wait for it any more
    worker.say(completed(work, generation=resume.generation), now=later(61))
    assert complete(acme, approval, now=later(62)) is True
    assert unsound() == []


def test_a_waiting_run_that_is_canceled_lets_go_of_what_it_waited_for(acme, worker, work):
    approval = token(acme)
    worker.say(suspended(work, approval))
    assert cancel_run(acme.scope, run_id=get(work.run).pk, now=later(1)).status == "CANCELED"
    assert complete(acme, approval, now=later(2)) is True
    assert worker.resume(now=later(3)) == []
    assert unsound() == []


def test_a_run_that_is_retried_after_a_wait_waits_for_its_token_again(acme, worker, work):
    approval = token(acme, timeout_at=later(3_600))
    worker.say(suspended(work, approval))
    assert rescue(later(61)) == 1
    queue_due(later(200))
    (again,) = worker.claim(now=later(200))
    worker.start(again, now=later(200))
    worker.say(suspended(again, approval), now=later(201))
    complete(acme, approval, now=later(202))
    (resume,) = worker.resume(now=later(202))
    assert (resume.run, again.attempt) == (work.run, 2)
    assert unsound() == []


def test_a_failure_while_waiting_for_a_time_leaves_nothing_behind(acme, worker, work):
    wait_for_time(worker, work, 60)
    worker.say(failed(work), now=later(1))
    assert get(work.run).status == "FAILED"
    complete_due(later(60))
    assert unsound() == []


def test_old_waitpoints_are_forgotten_when_nobody_needs_them(acme, worker, work):
    day = timedelta(days=1)
    today = clock.now()  # the age of a waitpoint is that of its id, which the real clock makes
    needed = token(acme)
    worker.say(suspended(work, needed))
    complete(acme, needed)
    complete(acme, token(acme))
    open_one = token(acme, timeout_at=today + 90 * day)
    assert forget_waitpoints(today + 29 * day) == 0
    assert forget_waitpoints(today + 31 * day) == 1
    left = set(Waitpoint.objects.values_list("pk", flat=True))
    assert left == {needed, open_one}


# -- At the same moment ------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_of_two_completions_at_once_one_counts(acme, worker, work):
    for _ in range(_ROUNDS):
        approval = token(acme)
        told = together(
            lambda point=approval: complete(acme, point, '"a"'),
            lambda point=approval: complete(acme, point, '"b"'),
        )
        assert sorted(told) == [False, True]
        winner = '"a"' if told[0] else '"b"'
        assert Waitpoint.objects.get(pk=approval).output == winner


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_suspended_first", [True, False])
def test_a_completion_and_a_suspension_that_meet_lose_nothing(acme, worker, is_suspended_first):
    for turn in range(2):
        work, approval = execute(acme.scope, worker), token(acme)
        calls = [
            lambda work=work, point=approval: worker.say(suspended(work, point)),
            lambda point=approval: complete(acme, point),
        ]
        if turn:
            together(*calls)
        else:
            one_before_other(*(calls if is_suspended_first else calls[::-1]))
        (resume,) = worker.resume()
        assert resume.results[0].ok
        assert kinds(work.run).count("woken") == 1
        worker.say(completed(work, generation=resume.generation))
    assert unsound() == []


@pytest.mark.django_db(transaction=True)
def test_a_timeout_and_a_completion_that_meet_wake_once(acme, worker):
    for _ in range(_ROUNDS):
        work, approval = execute(acme.scope, worker), token(acme, timeout_at=later(60))
        worker.say(suspended(work, approval))
        together(
            lambda point=approval: complete(acme, point, now=later(60)),
            lambda: complete_due(later(60)),
        )
        complete_due(later(60))
        (resume,) = worker.resume(now=later(60))
        assert len(resume.results) == 1
        assert kinds(work.run).count("woken") == 1
        worker.say(completed(work, generation=resume.generation), now=later(60))
    assert unsound() == []


@pytest.mark.django_db(transaction=True)
def test_engines_that_meet_complete_each_time_once(acme, worker):
    works = [execute(acme.scope, worker) for _ in range(6)]
    for work in works:
        wait_for_time(worker, work, 10)
    moved = together(*(lambda: complete_due(later(10)) for _ in range(3)))
    assert sum(moved) + complete_due(later(10)) == 6
    assert len(worker.resume(now=later(10))) == 6
    assert [kinds(work.run).count("woken") for work in works] == [1] * 6
    assert unsound() == []


def test_an_attempt_that_has_failed_blocks_its_run_no_more(acme, worker, work):
    """The process is to try again: to take the place that it keeps would lose the run."""
    worker.say(failed(work, retry_delay_ms=100))
    with pytest.raises(Conflict):
        block_run(acme.scope, run_id=get(work.run).pk, waitpoint_id=token(acme), now=NOW)
    assert rescue(later(61)) == 1
    assert get(work.run).status == "QUEUED"
    assert unsound() == []
