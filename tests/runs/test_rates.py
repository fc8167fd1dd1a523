"""Rates: exact in the claim, per queue and per key, spread out or in windows."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

import pytest

from apps.deployments.models import Queue
from apps.runs.models import Lane, QueueSlots
from apps.runs.operations.exchange import take_turn
from apps.runs.operations.versions import apply_queues
from apps.runs.queries import explanation
from tests import factories
from tests.runs.engine import NOW, Worker, completed, later, trigger, unsound, version
from tests.runs.threads import together


def queue(acme, name="q", **fields):
    Queue.objects.create(environment=acme.production, name=name, created_at=NOW, **fields)


def spread(limit, period, burst=1):
    return {"limit": limit, "period": period, "burst": burst}


def window(limit, period):
    return {"limit": limit, "period": period}


def fill(acme, count, **options):
    for _ in range(count):
        trigger(acme.scope, queue="q", **options)


def starts(worker, seconds):
    """How many runs start at each of these moments."""
    return [len(worker.claim(now=later(moment))) for moment in seconds]


@pytest.mark.django_db
def test_starts_are_spread_evenly(acme, worker):
    queue(acme, rate=spread(2, 10))
    fill(acme, 5)
    assert starts(worker, [0, 1, 4.999, 5, 9.9, 10, 30]) == [1, 0, 0, 1, 0, 1, 1]


@pytest.mark.django_db
def test_a_claim_tells_when_the_rate_allows_another_start(acme, worker):
    queue(acme, rate=spread(2, 10))
    queue(acme, name="keyed", key_rate=spread(1, 4))
    fill(acme, 2)
    trigger(acme.scope, queue="keyed", concurrency_key="a")
    offers = [worker.offer()]
    first = take_turn([], offers, now=NOW)
    assert (len(first.answers), first.free_at) == (2, later(4))
    assert take_turn([], offers, now=later(1)).free_at is None  # it has been told
    second = take_turn([], offers, now=later(5))
    assert (len(second.answers), second.free_at) == (1, later(10))


@pytest.mark.django_db
def test_a_burst_starts_at_once_and_then_the_rate_counts(acme, worker):
    queue(acme, rate=spread(1, 10, burst=3))
    fill(acme, 8)
    assert starts(worker, [0, 9.9, 10.1, 20.1, 60]) == [3, 0, 1, 1, 3]


@pytest.mark.django_db
def test_a_window_opens_with_its_first_start(acme, worker):
    queue(acme, rate=window(3, 10))
    fill(acme, 9)
    assert [len(worker.claim(free=2, now=later(s))) for s in (5, 8, 14.9, 15, 20)] == [
        2, 1, 0, 2, 1,
    ]  # fmt: skip


@pytest.mark.django_db
def test_a_rate_of_each_key_leaves_other_keys_alone(acme, worker):
    queue(acme, key_rate=spread(1, 10))
    for key in "aab":
        fill(acme, 1, concurrency_key=key)
    assert starts(worker, [0, 5, 10]) == [2, 0, 1]


@pytest.mark.django_db
def test_a_rate_counts_over_all_keys(acme, worker):
    queue(acme, rate=window(2, 10), key_rate=spread(1, 10))
    for key in "abc":
        fill(acme, 1, concurrency_key=key)
    assert starts(worker, [0, 5, 10]) == [2, 0, 1]


@pytest.mark.django_db
def test_what_is_held_by_its_rate_is_out_of_the_index_until_its_time(acme, worker):
    queue(acme, rate=spread(1, 10), key_rate=spread(1, 60))
    fill(acme, 2)
    worker.claim()
    assert QueueSlots.objects.get(queue="q").held_until == later(10)
    assert Lane.objects.get(queue="q").held_until == later(60)


@pytest.mark.django_db
def test_another_rate_counts_at_once(acme, worker):
    queue(acme, rate=spread(1, 3600))
    fill(acme, 3)
    assert starts(worker, [0, 10]) == [1, 0]
    Queue.objects.update(rate=None)
    apply_queues(acme.production.pk, now=later(11))
    assert starts(worker, [11]) == [2]


@pytest.mark.django_db
def test_a_held_run_says_until_when(acme, worker):
    queue(acme, rate=spread(2, 60))
    fill(acme, 1)
    run_id = trigger(acme.scope, queue="q", now=later(1))
    worker.claim()
    found = explanation(acme.scope, run_id)
    assert (found.kind, found.detail["until"]) == ("rate_limit", later(30).isoformat())
    assert found.text == (
        "Its queue 'q' has started as many runs as its rate of 2 per 60 s allows so far; "
        "the next may start at 2026-11-24 12:00:30 UTC."
    )


@pytest.mark.django_db
@pytest.mark.parametrize("seed", range(3))
def test_no_window_of_time_sees_more_starts_than_the_rate(acme, worker, seed):
    chance = random.Random(seed)
    limit, period = chance.randint(1, 7), chance.choice([1, 3, 10])
    queue(acme, rate=spread(limit, period))
    fill(acme, 40)
    moments: list[datetime] = []
    moment = later(10)
    while len(moments) < 40:
        works = worker.claim(now=moment)
        moments += [moment] * len(works)
        worker.say(*[completed(work) for work in works], now=moment)
        moment += timedelta(seconds=chance.random() * period / limit * 2)
    length = timedelta(seconds=period)
    assert max(sum(m <= n < m + length for n in moments) for m in moments) <= limit


@pytest.mark.django_db(transaction=True)
def test_a_rate_is_exact_however_many_claim():
    acme = factories.acme()
    queue(acme, rate=window(5, 60))
    made = version(acme.production, "hello")
    for _ in range(20):
        trigger(acme.scope, queue="q")
    for second in (0, 20, 59):
        works = together(*[lambda s=second: Worker(made, free=3).claim(now=later(s))] * 3)
        assert sum(map(len, works)) == (5 if second == 0 else 0)
    assert unsound() == []
