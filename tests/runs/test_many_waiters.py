"""A waitpoint that very many wait for: it is completed at once, and they are woken in bites."""

from __future__ import annotations

import pytest
from django.db import transaction

from apps.core.ids import new_id
from apps.runs.models import ReadyRun, Run, RunEvent, Wait, Waking
from apps.runs.operations import duties, waiting
from apps.runs.operations.cancel import cancel_run
from apps.runs.operations.duties import look
from apps.runs.operations.waiting import wake_more
from apps.runs.operations.waitpoints import complete_token, create_token, forget_waitpoints
from tests.runs.engine import NOW, execute, get, later, suspended, unsound
from tests.runs.threads import together

pytestmark = pytest.mark.django_db


@pytest.fixture
def bites_of_two(monkeypatch):
    monkeypatch.setattr(waiting, "WAITERS_AT_ONCE", 2)


def waiters(acme, worker, count, *more, need="any"):
    """So many runs that wait for a token (and for more), by their ids; and the token."""
    token = create_token(acme.scope, now=NOW).waitpoint_id
    works = [execute(acme.scope, worker) for _ in range(count)]
    for work in works:
        worker.say(suspended(work, token, *more, need=need))
    return token, [get(work.run) for work in works]


def complete(acme, token):
    return complete_token(acme.scope, waitpoint_id=token, output="1", now=later(1))


def woken() -> int:
    """How often a run was woken; none ever twice, in these tests."""
    events = RunEvent.objects.filter(kind="woken").values_list("run_id", flat=True)
    assert len(events) == len(set(events))
    return len(events)


def wake_all() -> list[int]:
    """How many are awake after each bite of the engine."""
    counts = []
    while look(later(2))["wake_more"]:
        wake_more(later(2))
        counts.append(woken())
    return counts


def test_the_first_bite_is_woken_in_the_call_and_the_engine_wakes_the_rest(
    acme, worker, bites_of_two
):
    token, _ = waiters(acme, worker, 5)
    assert complete(acme, token) is True
    assert (woken(), complete(acme, token)) == (2, False)
    assert unsound(now=later(60)) == []  # the mark stands for those that wait
    assert wake_all() == [4, 5]
    assert wake_more(later(2)) == 0
    assert len(worker.resume(now=later(2))) == 5
    assert unsound(now=later(60)) == []


def test_a_mark_that_is_lost_is_noticed(acme, worker, bites_of_two):
    token, _ = waiters(acme, worker, 5)
    complete(acme, token)
    Waking.objects.all().delete()
    assert any("has not woken" in said for said in unsound(now=later(60)))


def test_few_waiters_leave_no_mark(acme, worker):
    token, _ = waiters(acme, worker, 3)
    complete(acme, token)
    assert (woken(), look(later(2))["wake_more"]) == (3, False)


def test_a_full_last_bite_is_looked_at_once_more(acme, worker, bites_of_two):
    token, _ = waiters(acme, worker, 2)
    complete(acme, token)
    assert wake_all() == [2]


def test_an_engine_that_dies_within_a_bite_wakes_nobody_twice(
    acme, worker, bites_of_two, monkeypatch
):
    token, _ = waiters(acme, worker, 5)
    complete(acme, token)
    wake = waiting._wake

    def dies(*given, **more):
        wake(*given, **more)
        raise SystemExit

    monkeypatch.setattr(waiting, "_wake", dies)
    with pytest.raises(SystemExit), transaction.atomic():  # what a death undoes
        wake_more(later(2))
    monkeypatch.setattr(waiting, "_wake", wake)
    assert woken() == 2
    assert wake_all() == [4, 5]
    assert unsound(now=later(60)) == []


def test_who_went_on_in_between_is_left_alone(acme, worker, bites_of_two):
    other = create_token(acme.scope, now=NOW).waitpoint_id
    token, runs = waiters(acme, worker, 5, other)
    complete(acme, token)
    cancel_run(acme.scope, run_id=runs[2].pk, now=later(1))
    complete(acme, other)  # wakes two that the first completion has not come to
    assert wake_all()[-1] == 4
    assert len(worker.resume(now=later(2))) == 4
    assert unsound(now=later(60)) == []


def test_who_waits_for_all_waits_on_until_the_last(acme, worker, bites_of_two):
    other = create_token(acme.scope, now=NOW).waitpoint_id
    token, _ = waiters(acme, worker, 5, other, need="all")
    complete(acme, token)
    wake_all()
    assert woken() == 0
    complete(acme, other)
    assert (woken(), wake_all()) == (2, [4, 5])
    assert unsound(now=later(60)) == []


def test_a_run_that_comes_to_wait_in_between_goes_on_at_once(acme, worker, bites_of_two):
    token, _ = waiters(acme, worker, 5)
    late = execute(acme.scope, worker)
    complete(acme, token)
    worker.say(suspended(late, token))
    assert get(late.run).status == "QUEUED"
    wake_all()
    assert woken() == 6


def test_a_mark_is_not_forgotten_before_its_waiters_are_woken(acme, worker, bites_of_two):
    token, _ = waiters(acme, worker, 5)
    complete(acme, token)
    forget_waitpoints(later(400 * 86_400))
    assert wake_all() == [4, 5]


@pytest.mark.django_db(transaction=True)
def test_engines_that_meet_wake_each_waiter_once(acme, worker, bites_of_two):
    token, _ = waiters(acme, worker, 7)
    complete(acme, token)
    while look(later(2))["wake_more"]:
        together(*[lambda: wake_more(later(2))] * 3)
    assert woken() == 7
    assert unsound(now=later(60)) == []


def test_thousands_of_waiters_are_woken_a_bite_at_a_time(acme, worker):
    token, [first] = waiters(acme, worker, 1)
    copies = [get(first.pk) for _ in range(2_000)]
    for copy in copies:
        copy.pk, copy.suspended_attempt_id = new_id(), new_id()
    Run.objects.bulk_create(copies, batch_size=500)
    Wait.objects.bulk_create(
        Wait(run_id=copy.pk, waitpoint_id=token, created_at=NOW) for copy in copies
    )
    complete(acme, token)
    assert (woken(), waiting.WAITERS_AT_ONCE, duties.BITE) == (500, 500, 500)
    assert wake_all() == [1_000, 1_500, 2_000, 2_001]
    assert ReadyRun.objects.count() == 2_001
