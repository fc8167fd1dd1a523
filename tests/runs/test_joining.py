"""Triggers that join a run: debounced, overlapping, collected; and queues that are full."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from apps.core.errors import Invalid
from apps.deployments.models import Queue
from apps.runs.errors import NotCollectable, QueueFull
from apps.runs.models import IdempotencyKey, Run
from apps.runs.operations.batch import BatchItemRequest, add_batch_items, create_batch
from apps.runs.operations.cancel import cancel_run
from apps.runs.operations.duties import queue_due
from apps.runs.operations.lengths import forget_caps
from apps.runs.operations.trigger import TriggerRequest, trigger_runs
from apps.runs.policy import Debounce
from apps.runs.states import Overlap, RunStatus
from tests import factories
from tests.runs.engine import (
    NOW,
    Worker,
    ask,
    completed,
    get,
    kinds,
    later,
    started,
    trigger,
    unsound,
    version,
)
from tests.runs.threads import together

pytestmark = pytest.mark.django_db


def debounce(key="k", seconds=10, **more):
    return Debounce(key=key, delay=timedelta(seconds=seconds), **more)


# -- Debounce ------------------------------------------------------------------------------------


def test_triggers_of_one_key_push_one_run_on(acme, worker):
    first = trigger(acme.scope, debounce=debounce(), payload="1")
    again = ask(acme.scope, debounce=debounce(), payload="2", now=later(8))
    assert (again.run_id, again.is_cached) == (first, True)
    assert (get(first).status, get(first).delayed_until) == ("DELAYED", later(18))
    assert kinds(first) == ["triggered", "debounced"]
    queue_due(later(11))
    assert worker.claim(now=later(11)) == []
    queue_due(later(18))
    (work,) = worker.claim(now=later(18))
    assert work.payload == "1"
    assert unsound() == []


def test_the_last_payload_counts_when_it_is_trailing(acme, worker):
    first = trigger(acme.scope, debounce=debounce(is_trailing=True), payload="1", tags=("a",))
    trigger(
        acme.scope, debounce=debounce(is_trailing=True), payload="2", tags=("b",),
        metadata={"n": 2}, max_attempts=7,
    )  # fmt: skip
    run = get(first)
    assert (run.payload, run.tags, run.metadata, run.max_attempts) == ("2", ["b"], {"n": 2}, 7)


def test_a_run_is_pushed_on_to_its_longest_delay_only(acme):
    rule = debounce(max_delay=timedelta(seconds=15))
    first = trigger(acme.scope, debounce=rule)
    trigger(acme.scope, debounce=rule, now=later(9))
    assert get(first).delayed_until == later(15)


def test_a_key_starts_another_run_once_the_first_is_queued(acme):
    first = trigger(acme.scope, debounce=debounce())
    queue_due(later(10))
    second = trigger(acme.scope, debounce=debounce(), now=later(11))
    assert second != first
    assert trigger(acme.scope, debounce=debounce(), now=later(12)) == second


def test_keys_are_of_one_task_and_one_environment(acme, worker, charlie):
    runs = {
        trigger(acme.scope, debounce=debounce()),
        trigger(acme.scope, debounce=debounce(key="other")),
        trigger(acme.scope, "parent", debounce=debounce()),
        trigger(charlie.scope, debounce=debounce()),
    }
    assert len(runs) == 4


def test_one_call_may_debounce_a_key_more_than_once(acme):
    requests = [
        TriggerRequest(task="hello", payload=str(n), debounce=debounce(is_trailing=True))
        for n in range(3)
    ]
    answers = trigger_runs(acme.scope, requests=requests, now=NOW)
    assert len({answer.run_id for answer in answers}) == Run.objects.count() == 1
    assert [answer.is_cached for answer in answers] == [False, True, True]
    assert Run.objects.get().payload == "2"


def test_an_idempotency_key_of_a_joined_trigger_names_the_run_that_answered(acme):
    first = trigger(acme.scope, debounce=debounce())
    trigger(acme.scope, debounce=debounce(), idempotency_key="once")
    assert IdempotencyKey.objects.get(kind="user").run_id == first
    assert trigger(acme.scope, debounce=debounce(), idempotency_key="once") == first


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        (debounce(key=""), "debounce.key"),
        (debounce(key="x" * 513), "debounce.key"),
        (debounce(key="\x00"), "debounce.key"),
        (debounce(seconds=0.5), "debounce.delay"),
        (debounce(max_delay=timedelta(seconds=10)), "debounce.maxDelay"),
    ],
)
def test_a_debounce_that_makes_no_sense_is_refused(acme, rule, field):
    with pytest.raises(Invalid) as refused:
        trigger(acme.scope, debounce=rule)
    assert list(refused.value.detail) == [field]


# -- Overlap -------------------------------------------------------------------------------------


def test_a_trigger_is_skipped_while_a_run_is_open(acme, worker):
    first = trigger(acme.scope, overlap=Overlap.SKIP)
    assert ask(acme.scope, overlap=Overlap.SKIP).is_cached
    (work,) = worker.claim()
    worker.start(work)
    assert trigger(acme.scope, overlap=Overlap.SKIP) == first
    worker.say(completed(work))
    assert trigger(acme.scope, overlap=Overlap.SKIP) != first


def test_keys_do_not_overlap_with_each_other(acme):
    runs = {
        trigger(acme.scope, overlap=Overlap.SKIP, concurrency_key=key) for key in (None, "a", "b")
    }
    assert len(runs) == 3


def test_one_run_waits_for_the_end_of_the_other(acme, worker):
    first = trigger(acme.scope, overlap=Overlap.QUEUE)
    (work,) = worker.claim()
    worker.start(work)
    second = trigger(acme.scope, overlap=Overlap.QUEUE)
    assert second != first
    assert trigger(acme.scope, overlap=Overlap.QUEUE) == second
    assert worker.claim() == []
    worker.say(completed(work))
    (work,) = worker.claim()
    assert get(work.run).pk == second
    assert unsound() == []


def test_the_older_run_is_canceled_and_ends_before_the_newer_one_starts(acme, worker):
    first = trigger(acme.scope, overlap=Overlap.CANCEL)
    second = trigger(acme.scope, overlap=Overlap.CANCEL)
    assert (get(first).status, get(first).status_reason) == (
        "CANCELED", "replaced by a newer run",
    )  # fmt: skip
    (work,) = worker.claim()
    worker.start(work)
    third = trigger(acme.scope, overlap=Overlap.CANCEL)
    assert get(second).cancel_requested_at is not None
    assert worker.claim() == []
    worker.say(completed(work))
    (work,) = worker.claim()
    assert get(work.run).pk == third


def test_a_task_says_how_its_runs_overlap(acme):
    version(acme.production, "hello", overlap="skip")
    first = trigger(acme.scope)
    assert trigger(acme.scope) == first
    assert trigger(acme.scope, overlap=Overlap.ALLOW) != first


@pytest.mark.django_db(transaction=True)
def test_of_triggers_at_the_same_moment_one_starts_a_run():
    acme = factories.acme()
    version(acme.production, "hello")
    for turn in range(5):
        runs = together(
            *[
                lambda turn=turn: trigger(
                    acme.scope, overlap=Overlap.SKIP, concurrency_key=f"k{turn}"
                )
            ]
            * 3
        )
        assert len(set(runs)) == 1
    for turn in range(5):
        runs = together(*[lambda turn=turn: trigger(acme.scope, debounce=debounce(f"k{turn}"))] * 3)
        assert len(set(runs)) == 1
    assert Run.objects.count() == 10
    assert unsound() == []


def test_a_batch_ends_with_the_run_that_answered_for_its_item(acme, worker):
    first = trigger(acme.scope, overlap=Overlap.SKIP)
    batch = create_batch(acme.scope, run_count=1, now=NOW)
    item = BatchItemRequest(index=0, request=TriggerRequest(task="hello", overlap=Overlap.SKIP))
    add_batch_items(acme.scope, batch_id=batch.batch_id, items=[item], now=NOW)
    (work,) = worker.claim()
    worker.say(started(work), completed(work))
    assert get(first).status == RunStatus.COMPLETED
    assert unsound() == []


# -- Collect -------------------------------------------------------------------------------------


def collecting(acme, size=3, seconds=60):
    return Worker(version(acme.production, "hello", collect={"size": size, "seconds": seconds}))


def test_payloads_are_collected_until_there_are_enough(acme):
    worker = collecting(acme)
    runs = {trigger(acme.scope, payload=str(n)) for n in range(3)}
    (run_id,) = runs
    assert trigger(acme.scope, payload="3") != run_id
    queue_due(later(1))
    (work,) = worker.claim(now=later(1))
    assert json.loads(work.payload) == [0, 1, 2]
    assert kinds(run_id)[:3] == ["triggered", "collected", "collected"]


def test_payloads_are_collected_until_it_is_time(acme):
    worker = collecting(acme)
    trigger(acme.scope, payload='"a"')
    trigger(acme.scope, payload="text", payload_type="text/plain", now=later(5))
    queue_due(later(60))
    (work,) = worker.claim(now=later(60))
    assert json.loads(work.payload) == ["a", "text"]


def test_what_is_collected_keeps_its_types(acme):
    collecting(acme)
    dated = '{"json":{"at":"2026-01-01T00:00:00.000Z"},"meta":{"values":{"at":["Date"]}}}'
    alone = '{"json":"2026-01-01T00:00:00.000Z","meta":{"values":["Date"]}}'
    trigger(acme.scope, payload="1")
    for payload in (dated, alone):
        trigger(acme.scope, payload=payload, payload_type="application/super+json")
    run = Run.objects.get()
    assert run.payload_type == "application/super+json"
    assert json.loads(run.payload)["meta"] == {"values": {"1.at": ["Date"], "2": ["Date"]}}


def test_one_call_may_fill_several_runs(acme):
    collecting(acme, size=2)
    requests = [TriggerRequest(task="hello", payload=str(n)) for n in range(5)]
    trigger_runs(acme.scope, requests=requests, now=NOW)
    payloads = [json.loads(run.payload) for run in Run.objects.order_by("pk")]
    assert sorted(payloads) == [[0, 1], [2, 3], [4]]


def test_a_canceled_run_collects_no_more(acme):
    collecting(acme)
    first = trigger(acme.scope, payload="1")
    cancel_run(acme.scope, run_id=first, now=later(1))
    assert trigger(acme.scope, payload="2", now=later(2)) != first


def test_a_stored_payload_is_not_collected(acme):
    collecting(acme)
    with pytest.raises(NotCollectable):
        trigger(acme.scope, payload="packets/1", payload_type="application/store")


# -- Length --------------------------------------------------------------------------------------


def test_a_full_queue_refuses_and_takes_more_when_there_is_room(acme, worker):
    Queue.objects.create(environment=acme.production, name="q", max_queued=2, created_at=NOW)
    forget_caps()
    for key in "ab":
        trigger(acme.scope, queue="q", concurrency_key=key)
    with pytest.raises(QueueFull, match="the queue 'q' may have 2 runs waiting, and has them"):
        trigger(acme.scope, queue="q")
    trigger(acme.scope)  # another queue
    assert len(worker.claim(free=3)) == 3
    trigger(acme.scope, queue="q")
    assert Run.objects.filter(queue="q").count() == 3


def test_a_call_that_would_fill_a_queue_over_is_refused_whole(acme):
    version(acme.production, "hello")
    Queue.objects.create(environment=acme.production, name="q", max_queued=2, created_at=NOW)
    forget_caps()
    requests = [TriggerRequest(task="hello", queue="q")] * 3
    with pytest.raises(QueueFull):
        trigger_runs(acme.scope, requests=requests, now=NOW)
    assert not Run.objects.exists()
