"""Limits: at every instant, at every level, however many claim, and only as long as they apply."""

from __future__ import annotations

import threading
from collections import Counter

import pytest
from django.db import connection

from apps.deployments.models import Queue
from apps.environments.models import Environment
from apps.orgs.models import Organization
from apps.runs.models import Lane, QueueSlots
from apps.runs.operations.cancel import cancel_run
from apps.runs.operations.duties import close_queues, forget_lanes
from apps.runs.operations.exchange import exchange
from apps.runs.operations.versions import apply_queues
from apps.runs.queries import exceeded_limits
from tests import factories
from tests.runs.engine import (
    NOW,
    Worker,
    ask,
    completed,
    get,
    later,
    started,
    suspended,
    trigger,
    unsound,
    version,
)
from tests.runs.threads import holding, together


def queue(acme, name="q", **fields):
    """A queue of Acme's production."""
    Queue.objects.create(environment=acme.production, name=name, created_at=NOW, **fields)


def keys(works):
    return sorted(work.context["queue"]["concurrencyKey"] for work in works)


# -- Each level ----------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_total_holds_over_all_keys_of_a_queue(acme, worker):
    queue(acme, total_limit=2)
    for key in "abcd":
        trigger(acme.scope, queue="q", concurrency_key=key)
    first = worker.claim()
    assert len(first) == 2
    assert worker.claim() == []
    worker.say(completed(first[0]))
    assert len(worker.claim()) == 1
    assert unsound() == []


@pytest.mark.django_db
def test_a_total_and_the_limit_of_each_key_hold_together(acme, worker):
    queue(acme, total_limit=3, concurrency_limit=2)
    for key in "aaaabb":
        trigger(acme.scope, queue="q", concurrency_key=key)
    assert keys(worker.claim()) == ["a", "a", "b"]


@pytest.mark.django_db
def test_an_organizations_limit_counts_over_its_environments(acme, worker):
    Organization.objects.filter(pk=acme.organization.pk).update(concurrency_limit=3)
    elsewhere = Worker(version(acme.staging, "hello"))
    staging = factories.key_scope(acme.staging)
    for _ in range(3):
        trigger(acme.scope)
        trigger(staging)
    first = worker.claim(free=2)
    assert len(first) == 2
    assert len(elsewhere.claim()) == 1
    assert worker.claim() == []
    worker.say(completed(first[0]))
    assert len(elsewhere.claim()) == 1
    assert elsewhere.claim() == worker.claim() == []


@pytest.mark.django_db
def test_one_claim_for_two_environments_keeps_their_organizations_limit(acme, worker):
    Organization.objects.filter(pk=acme.organization.pk).update(concurrency_limit=4)
    elsewhere = Worker(version(acme.staging, "hello"))
    staging = factories.key_scope(acme.staging)
    for _ in range(8):
        trigger(acme.scope)
        trigger(staging)
    answers = exchange([], [worker.offer(), elsewhere.offer()], now=NOW)
    sessions = Counter(answer.session_id for answer in answers)
    assert sessions == {worker.session_id: 2, elsewhere.session_id: 2}


@pytest.mark.django_db
def test_an_organization_without_a_limit_has_none(acme, worker):
    for _ in range(5):
        trigger(acme.scope)
    assert len(worker.claim()) == 5


@pytest.mark.django_db
def test_queues_together_may_burst_and_one_alone_may_not(acme):
    Environment.objects.filter(pk=acme.production.pk).update(concurrency_limit=2, burst_factor=2)
    worker = Worker(version(acme.production, "hello", "other"))
    for _ in range(5):
        trigger(acme.scope, "hello")
    assert len(worker.claim()) == 2
    for _ in range(5):
        trigger(acme.scope, "other")
    assert len(worker.claim()) == 2
    assert worker.claim() == []


@pytest.mark.django_db
def test_a_limit_of_nothing_starts_nothing(acme, worker):
    queue(acme, total_limit=0)
    trigger(acme.scope, queue="q")
    assert worker.claim() == []


@pytest.mark.django_db
def test_a_lowered_limit_starts_nothing_until_there_is_room(acme, worker):
    queue(acme, total_limit=3)
    for key in "abcd":
        trigger(acme.scope, queue="q", concurrency_key=key)
    works = worker.claim()
    Queue.objects.update(total_override=1)
    apply_queues(acme.production.pk, now=later(1))
    assert exceeded_limits() == ["queue q: 3 of 1"]
    worker.say(*[completed(work) for work in works[:2]])
    assert worker.claim() == []
    worker.say(completed(works[2]))
    assert len(worker.claim()) == 1
    assert exceeded_limits() == []


@pytest.mark.django_db
@pytest.mark.parametrize(
    "limit",
    [{"concurrency_limit": 1}, {"total_limit": 1}],
    ids=["of each key", "of all keys"],
)
def test_a_run_that_waits_gives_its_place_back_and_waits_for_it_to_go_on(acme, worker, limit):
    queue(acme, **limit)
    trigger(acme.scope, "parent", queue="q")
    (parent,) = worker.claim()
    worker.start(parent)
    child = ask(
        acme.scope, queue="q", parent_run_id=get(parent.run).pk, resume_parent=True
    )  # fmt: skip
    worker.say(suspended(parent, child.waitpoint_id))
    trigger(acme.scope, queue="q", now=later(1))
    (work,) = worker.claim(now=later(2), free=1)
    worker.say(completed(work), now=later(3))
    works = worker.claim(now=later(4), free=1)  # the other run, or the parent: never both
    assert len(works) + len(worker.resume(now=later(5))) == 1
    assert unsound() == []


@pytest.mark.django_db
def test_an_organizations_limit_holds_for_who_goes_on(acme, worker):
    trigger(acme.scope, "parent")
    (parent,) = worker.claim()
    worker.start(parent)
    child = ask(acme.scope, parent_run_id=get(parent.run).pk, resume_parent=True)
    worker.say(suspended(parent, child.waitpoint_id))
    (work,) = worker.claim()
    worker.say(completed(work))
    Organization.objects.filter(pk=acme.organization.pk).update(concurrency_limit=0)
    assert worker.resume() == []
    Organization.objects.filter(pk=acme.organization.pk).update(concurrency_limit=1)
    assert len(worker.resume()) == 1


# -- At every instant ----------------------------------------------------------------------------


def narrow(acme):
    """Versions of two environments with 36 runs between them, and a limit at each level."""
    Organization.objects.filter(pk=acme.organization.pk).update(concurrency_limit=7)
    Environment.objects.filter(pk=acme.production.pk).update(concurrency_limit=5)
    queue(acme, total_limit=4, concurrency_limit=2)
    versions = version(acme.production, "hello"), version(acme.staging, "hello")
    staging = factories.key_scope(acme.staging)
    for turn in range(12):
        trigger(acme.scope, queue="q", concurrency_key=f"k{turn % 3}")
        trigger(acme.scope)
        trigger(staging)
    return versions


@pytest.mark.django_db(transaction=True)
def test_no_limit_is_exceeded_at_any_instant_while_many_claim_and_end():
    made, elsewhere = narrow(factories.acme())
    done, seen, stop = Counter(), [], threading.Event()

    def work(shipped):
        worker = Worker(shipped, free=3)
        while not stop.is_set() and done.total() < 36:
            for one in worker.claim():
                worker.say(started(one), completed(one))
                done[one.run] += 1

    def watch():
        while not stop.is_set():
            seen.extend(exceeded_limits())
            stop.wait(0.002)
        connection.close()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        together(*[lambda: work(made)] * 3, lambda: work(elsewhere))
    finally:
        stop.set()
        watcher.join()
    assert seen == []
    assert set(done.values()) == {1}
    assert len(done) == 36
    assert unsound() == []


@pytest.mark.django_db(transaction=True)
def test_two_environments_at_the_same_moment_keep_their_organizations_limit():
    acme = factories.acme()
    Organization.objects.filter(pk=acme.organization.pk).update(concurrency_limit=1)
    one, two = (Worker(version(e, "hello")) for e in (acme.production, acme.staging))
    scopes = acme.scope, factories.key_scope(acme.staging)
    for _ in range(10):
        for scope in scopes:
            trigger(scope)
        mine, theirs = together(one.claim, two.claim)
        assert len(mine) + len(theirs) == 1
        for worker, works in ((one, mine), (two, theirs)):
            for work in works:
                worker.say(completed(work))
    assert unsound() == []


@pytest.mark.django_db(transaction=True)
def test_a_claim_that_had_to_skip_an_environment_waits_for_it():
    acme = factories.acme()
    made = version(acme.production, "hello")
    one, two = Worker(made), Worker(made)
    for _ in range(2):
        trigger(acme.scope)
    with holding(lambda: one.claim(free=1)) as held:
        assert two.claim(free=1) == []  # in vain: it is held for longer than anybody waits
    assert len(held.result()) == 1
    assert len(two.claim(free=1)) == 1


# -- What is not used goes -----------------------------------------------------------------------


@pytest.mark.django_db
def test_a_queue_without_open_lanes_is_closed_and_a_trigger_opens_it(acme, worker):
    trigger(acme.scope)
    (work,) = worker.claim()
    assert close_queues(later(1)) == 0
    worker.claim()
    assert close_queues(later(1)) == 1
    assert not QueueSlots.objects.get().is_open
    worker.say(completed(work))
    trigger(acme.scope)
    assert len(worker.claim()) == 1
    assert unsound() == []


@pytest.mark.django_db(transaction=True)
def test_a_queue_stays_open_while_a_lane_of_it_is_being_opened():
    acme = factories.acme()
    worker = Worker(version(acme.production, "hello"))
    trigger(acme.scope)
    worker.claim()
    worker.claim()
    with holding(lambda: trigger(acme.scope, concurrency_key="new")):
        assert close_queues(later(1)) == 0
    assert len(worker.claim()) == 1


@pytest.mark.django_db
def test_lanes_of_keys_are_forgotten_when_nothing_has_been_heard_of_them_for_an_hour(acme, worker):
    for key in ("idle", "busy", "waiting"):
        trigger(acme.scope, concurrency_key=key)
    trigger(acme.scope)
    works = worker.claim()
    worker.claim()
    busy = next(w for w in works if w.context["queue"]["concurrencyKey"] == "busy")
    worker.say(*[completed(work) for work in works if work is not busy])
    trigger(acme.scope, concurrency_key="waiting", now=later(10))
    assert forget_lanes(later(3_000)) == 0
    assert forget_lanes(later(4_000)) == 1
    assert set(Lane.objects.values_list("key", flat=True)) == {"", "busy", "waiting"}
    trigger(acme.scope, concurrency_key="idle")
    assert len(worker.claim()) == 2
    assert unsound() == []


@pytest.mark.django_db
def test_a_canceled_run_leaves_room(acme, worker):
    queue(acme, total_limit=1)
    first, second = (trigger(acme.scope, queue="q", concurrency_key=key) for key in "ab")
    cancel_run(acme.scope, run_id=first, now=later(1))
    assert [get(work.run).pk for work in worker.claim()] == [second]
