"""Tokens, times, batches, delays and what joins runs, at the moment when something else happens."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from apps.core import clock
from apps.core.errors import Conflict
from apps.runs.models import JournalEntry, Run
from apps.runs.operations import bulk
from apps.runs.operations.batch import BatchItemRequest, add_batch_items, create_batch
from apps.runs.operations.bulk import advance_bulk_action, create_bulk_action
from apps.runs.operations.duties import queue_due, rescue
from apps.runs.operations.reschedule import reschedule_run
from apps.runs.operations.tags import add_tags
from apps.runs.operations.trigger import TriggerRequest
from apps.runs.operations.versions import apply_queues
from apps.runs.operations.waitpoints import complete_due, complete_token, create_token
from apps.runs.policy import Debounce
from apps.runs.states import BulkKind
from holdfast.protocol import Entry, Execute, Recorded, Stale, Steps
from tests.runs.engine import (
    NOW,
    ask,
    completed,
    failed,
    get,
    later,
    rejected,
    suspended,
    trigger,
)
from tests.runs.meetings import Scene, Shop, is_final, play

pytestmark = pytest.mark.django_db(transaction=True)


def _token(shop: Shop, **options: Any):
    return create_token(shop.scope, now=NOW, **options).waitpoint_id


def _complete(shop: Shop, token: Any) -> bool:
    return complete_token(shop.scope, waitpoint_id=token, output="1", now=later(2))


# -- Tokens and times --------------------------------------------------------------------------


def token_completes_and_run_suspends(shop: Shop) -> Scene:
    worker, work = shop.executing()
    token = _token(shop)

    def check(*_: Any) -> None:
        assert len(worker.resume()) == 1
        assert get(work.run).status == "EXECUTING"

    return (
        lambda: _complete(shop, token),
        lambda: worker.say(suspended(work, token)),
        check,
    )


def token_completes_and_run_is_let_go(shop: Shop) -> Scene:
    """A durable run leaves its process at the moment when it is woken."""
    worker, work = shop.executing()
    token = _token(shop)

    def check(*_: Any) -> None:
        again, resumed = worker.claim(), worker.resume()
        assert len(again) + len(resumed) == 1
        assert get(work.run).status in {"EXECUTING", "DEQUEUED"}

    return (
        lambda: _complete(shop, token),
        lambda: worker.say(suspended(work, token, release=True)),
        check,
    )


def token_completes_twice(shop: Shop) -> Scene:
    worker, work = shop.executing()
    token = _token(shop)
    worker.say(suspended(work, token))

    def check(one: bool, two: bool) -> None:
        assert one != two
        assert len(worker.resume()) == 1

    return lambda: _complete(shop, token), lambda: _complete(shop, token), check


def token_completes_and_its_time_is_over(shop: Shop) -> Scene:
    worker, work = shop.executing()
    token = _token(shop, timeout_at=later(1))
    worker.say(suspended(work, token))

    def check(is_completed: bool, _: int) -> None:
        (resume,) = worker.resume()
        assert [result.ok for result in resume.results] == [is_completed]

    return lambda: _complete(shop, token), lambda: complete_due(later(2)), check


def token_completes_and_run_is_canceled(shop: Shop) -> Scene:
    worker, work = shop.executing()
    token = _token(shop)
    worker.say(suspended(work, token))

    def check(*_: Any) -> None:
        run = get(work.run)
        for resume in worker.resume():
            worker.say(failed(work, generation=resume.generation, outcome="canceled"))
        assert is_final(run.pk)

    return lambda: _complete(shop, token), lambda: shop.cancel(work.run), check


def steps_are_recorded_and_the_lease_is_over(shop: Shop) -> Scene:
    worker, work = shop.executing()
    entry = Entry(seq=1, position="1", kind="step", name="charge", output="1")

    def check(answers: list[Any], rescued: int) -> None:
        (answer,) = answers
        assert isinstance(answer, Recorded | Stale)
        kept = JournalEntry.objects.filter(run_id=get(work.run).pk).count()
        assert kept == isinstance(answer, Recorded)
        assert rescued + rescue(later(61)) == 1  # it leaves alone what another works on

    return (
        lambda: worker.say(Steps(run=work.run, generation=work.generation, entries=[entry])),
        lambda: rescue(later(61)),
        check,
    )


# -- Batches -----------------------------------------------------------------------------------


def _item(index: int) -> BatchItemRequest:
    return BatchItemRequest(index=index, request=TriggerRequest(task="hello"))


def _add(shop: Shop, batch: Any, *indexes: int):
    items = [_item(index) for index in indexes]
    return add_batch_items(shop.scope, batch_id=batch, items=items, now=later(1))


def first_item_completes_while_the_last_is_added(shop: Shop) -> Scene:
    worker, parent = shop.executing("parent")
    batch = create_batch(
        shop.scope, run_count=2, parent_run_id=get(parent.run).pk, resume_parent=True, now=NOW
    )
    _add(shop, batch.batch_id, 0)
    (first,) = worker.claim()
    worker.start(first)
    worker.say(suspended(parent, batch.waitpoint_id))

    def check(*_: Any) -> None:
        assert worker.resume() == []
        (second,) = worker.claim()
        worker.start(second)
        worker.say(completed(second))
        assert len(worker.resume()) == 1

    return lambda: worker.say(completed(first)), lambda: _add(shop, batch.batch_id, 1), check


def the_same_items_are_added_twice(shop: Shop) -> Scene:
    batch = create_batch(shop.scope, run_count=2, now=NOW)

    def check(*_: Any) -> None:
        runs = Run.objects.filter(batch_id=batch.batch_id)
        assert list(runs.order_by("batch_index").values_list("batch_index", flat=True)) == [0, 1]
        for run in runs:
            shop.cancel(run.pk)

    return (
        lambda: _add(shop, batch.batch_id, 0, 1),
        lambda: _add(shop, batch.batch_id, 1, 0),
        check,
    )


def items_are_added_and_their_parent_is_canceled(shop: Shop) -> Scene:
    worker, parent = shop.executing("parent")
    batch = create_batch(
        shop.scope, run_count=2, parent_run_id=get(parent.run).pk, resume_parent=True, now=NOW
    )

    def add() -> None:
        with suppress(Conflict):
            _add(shop, batch.batch_id, 0, 1)

    def check(*_: Any) -> None:
        worker.say(failed(parent, outcome="canceled"))
        for run in Run.objects.filter(batch_id=batch.batch_id):
            shop.cancel(run.pk)
            assert is_final(run.pk)

    return add, lambda: shop.cancel(parent.run), check


def runs_are_canceled_in_bulk_and_one_completes(shop: Shop) -> Scene:
    worker, work = shop.executing()
    after = clock.now() + timedelta(days=1)
    action = create_bulk_action(
        shop.scope, kind=BulkKind.CANCEL, run_ids=[get(work.run).pk], now=after
    )

    def check(*_: Any) -> None:
        if not is_final(work.run):
            worker.say(failed(work, outcome="canceled"))
        assert get(work.run).status in {"COMPLETED", "CANCELED"}

    return (
        lambda: advance_bulk_action(action.pk, clock=lambda: after),
        lambda: worker.say(completed(work)),
        check,
    )


# -- Delays, and what joins a run --------------------------------------------------------------


def start_is_moved_and_comes(shop: Shop) -> Scene:
    run_id = trigger(shop.scope, delay_until=later(1))

    def move() -> bool:
        with suppress(Conflict):
            reschedule_run(shop.scope, run_id=run_id, delay_until=later(50), now=later(1))
            return True
        return False

    def check(is_moved: bool, _: int) -> None:
        assert get(run_id).status == ("DELAYED" if is_moved else "QUEUED")
        shop.cancel(run_id)

    return move, lambda: queue_due(later(2)), check


def start_is_moved_and_run_is_canceled(shop: Shop) -> Scene:
    run_id = trigger(shop.scope, delay_until=later(1))

    def move() -> None:
        with suppress(Conflict):
            reschedule_run(shop.scope, run_id=run_id, delay_until=later(50), now=later(1))

    def check(*_: Any) -> None:
        assert get(run_id).status == "CANCELED"

    return move, lambda: shop.cancel(run_id), check


def _debounced(shop: Shop, key: str, payload: str, now=NOW):
    rule = Debounce(key=key, delay=timedelta(seconds=10), is_trailing=True)
    return ask(shop.scope, debounce=rule, payload=payload, now=now).run_id


def two_triggers_are_debounced(shop: Shop) -> Scene:
    key = f"k{Run.objects.count()}"

    def check(one: Any, two: Any) -> None:
        assert one == two
        shop.cancel(one)

    return lambda: _debounced(shop, key, "1"), lambda: _debounced(shop, key, "2"), check


def trigger_is_debounced_and_the_run_is_due(shop: Shop) -> Scene:
    """Either it joins the run and its payload counts, or it makes another run."""
    key = f"k{Run.objects.count()}"
    first = _debounced(shop, key, "1")

    def check(second: Any, _: int) -> None:
        assert get(second).payload == "2"
        for run in {first, second}:
            shop.cancel(run)

    return (
        lambda: _debounced(shop, key, "2", later(9)),
        lambda: queue_due(later(10)),
        check,
    )


# -- What is given back, and what changes beside -------------------------------------------------


def run_is_given_back_and_canceled(shop: Shop) -> Scene:
    run_id, worker = trigger(shop.scope), shop.worker()
    (work,) = worker.claim()

    def check(*_: Any) -> None:
        assert get(run_id).status == "CANCELED"

    return lambda: worker.say(rejected(work)), lambda: shop.cancel(run_id), check


def run_is_given_back_and_another_claims(shop: Shop) -> Scene:
    run_id, worker, other = trigger(shop.scope), shop.worker(), shop.worker()
    (work,) = worker.claim()

    def check(_: Any, taken: list[Execute]) -> None:
        again = taken or other.claim(now=later(60))
        assert [one.run for one in again] == [work.run]
        assert get(run_id).generation > work.generation

    return lambda: worker.say(rejected(work, is_fault=False)), other.claim, check


def tags_are_added_and_run_completes(shop: Shop) -> Scene:
    worker, work = shop.executing()
    run_id = get(work.run).pk

    def check(*_: Any) -> None:
        run = get(run_id)
        assert (run.status, run.tags) == ("COMPLETED", ["a"])

    return (
        lambda: add_tags(shop.scope, run_id=run_id, tags=["a"], now=later(1)),
        lambda: worker.say(completed(work)),
        check,
    )


def queues_are_applied_and_a_run_is_claimed(shop: Shop) -> Scene:
    run_id, worker = trigger(shop.scope), shop.worker()

    def check(*_: Any) -> None:
        worker.claim()
        assert get(run_id).status == "DEQUEUED"

    environment = shop.acme.production.pk
    return lambda: apply_queues(environment, now=later(1)), worker.claim, check


SCENES = [
    token_completes_and_run_suspends,
    token_completes_and_run_is_let_go,
    token_completes_twice,
    token_completes_and_its_time_is_over,
    token_completes_and_run_is_canceled,
    steps_are_recorded_and_the_lease_is_over,
    first_item_completes_while_the_last_is_added,
    the_same_items_are_added_twice,
    items_are_added_and_their_parent_is_canceled,
    runs_are_canceled_in_bulk_and_one_completes,
    start_is_moved_and_comes,
    start_is_moved_and_run_is_canceled,
    two_triggers_are_debounced,
    trigger_is_debounced_and_the_run_is_due,
    run_is_given_back_and_canceled,
    run_is_given_back_and_another_claims,
    tags_are_added_and_run_completes,
    queues_are_applied_and_a_run_is_claimed,
]


@pytest.fixture(autouse=True)
def today(monkeypatch):
    """Bulk actions compare ids, which are made by the real clock, with the tests' own time."""
    monkeypatch.setattr(bulk, "DEFAULT_PERIOD", timedelta(days=3_650))


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_whoever_comes_first_the_engine_is_sound(scene, deadlocks):
    play(scene, deadlocks)
