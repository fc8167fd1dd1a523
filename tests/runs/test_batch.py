"""Batches: announced, filled item by item, sealed once, and complete when all have ended."""

from __future__ import annotations

import pytest

from apps.core.errors import Conflict, Invalid, NotFound
from apps.core.ids import new_id
from apps.runs.limits import limits
from apps.runs.models import Batch, BatchItem, IdempotencyKey, Run, Waitpoint
from apps.runs.operations.batch import (
    BatchItemRequest,
    abandon_batches,
    add_batch_items,
    create_batch,
)
from apps.runs.operations.cancel import cancel_run
from apps.runs.operations.finish import Ending, finish_runs
from apps.runs.operations.trigger import TriggerRequest
from apps.runs.queries import batch_errors, batch_results, batch_runs, get_batch
from apps.runs.states import KeyKind, RunStatus
from tests import factories
from tests.runs.engine import (
    NOW,
    Worker,
    completed,
    failed,
    get,
    later,
    suspended,
    trigger,
    unknown_run,
    unsound,
    version,
)
from tests.runs.threads import together

pytestmark = pytest.mark.django_db


def create(acme, count=3, **options):
    return create_batch(acme.scope, run_count=count, now=NOW, **options)


def fill(acme, batch_id, *indexes, now=NOW, **options):
    items = [
        BatchItemRequest(index=index, request=TriggerRequest(**{"task": "hello"} | options))
        for index in indexes
    ]
    return add_batch_items(acme.scope, batch_id=batch_id, items=items, now=now)


def status(batch_id):
    return Batch.objects.get(pk=batch_id).status


# -- Announced ---------------------------------------------------------------------------------


def test_a_batch_is_announced_with_its_size(acme):
    made = create(acme, 3)
    batch = get_batch(acme.scope, made.batch_id)
    assert (batch.run_count, batch.status, made.is_cached, made.waitpoint_id) == (
        3, "PENDING", False, None,
    )  # fmt: skip


@pytest.mark.parametrize("count", [0, -1, limits().batch_items + 1])
def test_a_batch_has_a_bounded_size(acme, count):
    with pytest.raises(Invalid) as caught:
        create(acme, count)
    assert "runCount" in caught.value.detail


def test_the_same_key_answers_with_the_same_batch(acme):
    first, second = (create(acme, idempotency_key="k") for _ in range(2))
    assert (first.batch_id, second.is_cached) == (second.batch_id, True)
    assert IdempotencyKey.objects.get().kind == KeyKind.BATCH


def test_a_batch_uses_a_one_time_token_up(acme):
    create(acme, token_digest=b"t" * 32)
    with pytest.raises(Invalid, match="already been used"):
        create(acme, token_digest=b"t" * 32)


def test_the_parent_of_a_batch_must_be_there_and_open(acme, worker, charlie):
    parent = trigger(acme.scope, "parent")
    with pytest.raises(NotFound):
        create(acme, parent_run_id=unknown_run())
    with pytest.raises(NotFound):
        create_batch(charlie.scope, run_count=1, parent_run_id=parent, now=NOW)
    cancel_run(acme.scope, run_id=parent, now=NOW)
    with pytest.raises(Conflict):
        create(acme, parent_run_id=parent)


def test_a_parent_that_waits_is_given_one_waitpoint_however_often_it_asks(acme, worker):
    parent = trigger(acme.scope, "parent")
    made = [
        create(acme, parent_run_id=parent, resume_parent=True, idempotency_key="k")
        for _ in range(2)
    ]
    assert made[0].waitpoint_id == made[1].waitpoint_id is not None


# -- Filled ------------------------------------------------------------------------------------


def test_items_become_runs_by_their_index(acme, worker):
    batch_id = create(acme, 3).batch_id
    progress = fill(acme, batch_id, 2, 0, 1)
    assert (progress.accepted, progress.sealed, progress.enqueued) == (3, True, 3)
    runs = batch_runs(acme.scope, batch_id)
    assert [run.batch_index for run in runs] == [0, 1, 2]
    assert {run.trigger_function for run in runs} == {"batchTrigger"}
    assert status(batch_id) == "PROCESSING"
    assert unsound() == []


def test_a_batch_is_filled_in_parts_and_sealed_by_the_last(acme, worker):
    batch_id = create(acme, 3).batch_id
    first = fill(acme, batch_id, 0, 1)
    assert (first.sealed, first.enqueued, first.expected) == (False, 2, 3)
    assert fill(acme, batch_id, 2).sealed


def test_an_item_that_is_sent_again_is_the_same_item(acme, worker):
    batch_id = create(acme, 3).batch_id
    fill(acme, batch_id, 0, 1)
    progress = fill(acme, batch_id, 0, 1, 2)
    assert (progress.accepted, progress.deduplicated, progress.sealed) == (1, 2, True)
    assert Run.objects.count() == 3
    again = fill(acme, batch_id, 0, 1, 2)
    assert (again.accepted, again.deduplicated, again.sealed) == (0, 3, True)


def test_of_two_items_with_one_index_the_first_counts(acme, worker):
    batch_id = create(acme, 1).batch_id
    items = [
        BatchItemRequest(index=0, request=TriggerRequest(task="hello", payload=text))
        for text in ("1", "2")
    ]
    progress = add_batch_items(acme.scope, batch_id=batch_id, items=items, now=NOW)
    assert (progress.accepted, progress.deduplicated) == (1, 1)
    assert Run.objects.get().payload == "1"


@pytest.mark.parametrize("index", [-1, 3])
def test_an_item_outside_of_the_batch_is_refused(acme, worker, index):
    batch_id = create(acme, 3).batch_id
    with pytest.raises(Invalid, match=f"item {index}"):
        fill(acme, batch_id, 0, index)
    assert not BatchItem.objects.exists()


def test_nothing_is_added_to_a_call_without_items(acme, worker):
    progress = fill(acme, create(acme, 3).batch_id)
    assert (progress.accepted, progress.sealed, progress.expected) == (0, False, 3)


def test_an_item_that_cannot_be_triggered_keeps_its_error_and_the_others_go_on(acme, worker):
    batch_id = create(acme, 9).batch_id
    items = [
        BatchItemRequest(
            index=index,
            request=TriggerRequest(task="hello", machine="huge" if index in {2, 7} else None),
        )
        for index in range(9)
    ]
    progress = add_batch_items(acme.scope, batch_id=batch_id, items=items, now=NOW)
    assert (progress.accepted, progress.sealed) == (9, True)
    assert [run.batch_index for run in batch_runs(acme.scope, batch_id)] == [0, 1, 3, 4, 5, 6, 8]
    errors = batch_errors(acme.scope, batch_id)
    assert [(error.index, error.error["code"]) for error in errors] == [
        (2, "invalid"), (7, "invalid"),
    ]  # fmt: skip
    assert unsound() == []


# -- Complete ----------------------------------------------------------------------------------


def test_a_batch_is_complete_when_all_its_runs_have_ended_however(acme, worker):
    batch_id = create(acme, 3).batch_id
    fill(acme, batch_id, 0, 1, 2)
    one, two, three = worker.claim()
    worker.say(completed(one), failed(two))
    assert status(batch_id) == "PROCESSING"
    cancel_run(acme.scope, run_id=get(three.run).pk, now=NOW)
    worker.say(failed(three, outcome="canceled"), now=later(3))
    batch = Batch.objects.get()
    assert (batch.status, batch.completed_at) == ("COMPLETED", later(3))
    assert unsound() == []


def test_a_batch_is_not_complete_before_it_is_sealed(acme, worker):
    batch_id = create(acme, 2).batch_id
    fill(acme, batch_id, 0)
    worker.say(completed(*worker.claim()))
    assert status(batch_id) == "PENDING"
    fill(acme, batch_id, 1)
    assert status(batch_id) == "PROCESSING"
    worker.say(completed(*worker.claim()))
    assert status(batch_id) == "COMPLETED"


def test_a_batch_with_an_item_that_failed_to_trigger_is_a_partial_failure(acme, worker):
    batch_id = create(acme, 2).batch_id
    fill(acme, batch_id, 0)
    fill(acme, batch_id, 1, machine="huge")
    worker.say(completed(*worker.claim()))
    assert status(batch_id) == "PARTIAL_FAILED"


def test_a_batch_of_which_nothing_could_be_triggered_is_aborted(acme, worker):
    batch_id = create(acme, 2).batch_id
    fill(acme, batch_id, 0, 1, machine="huge")
    assert status(batch_id) == "ABORTED"
    assert Batch.objects.get().completed_at == NOW


def test_an_item_that_an_ended_run_answers_is_done_at_once(acme, worker):
    trigger(acme.scope, idempotency_key="k")
    worker.say(completed(*worker.claim()))
    batch_id = create(acme, 1).batch_id
    fill(acme, batch_id, 0, idempotency_key="k")
    item = BatchItem.objects.get()
    assert (item.is_cached, item.is_finished, status(batch_id)) == (True, True, "COMPLETED")


def test_one_run_may_stand_for_items_of_many_batches(acme, worker):
    batches = [create(acme, 2).batch_id for _ in range(2)]
    for batch_id in batches:
        fill(acme, batch_id, 0, 1, idempotency_key="k")
    assert Run.objects.count() == 1
    worker.say(completed(*worker.claim()))
    assert [status(batch_id) for batch_id in batches] == ["COMPLETED"] * 2
    assert unsound() == []


# -- Waited for --------------------------------------------------------------------------------


@pytest.fixture
def parent(acme, worker):
    trigger(acme.scope, "parent")
    (work,) = worker.claim()
    worker.start(work)
    return work


def test_a_waiting_parent_goes_on_once_when_its_batch_is_complete(acme, worker, parent):
    made = create(acme, 3, parent_run_id=get(parent.run).pk, resume_parent=True)
    worker.say(suspended(parent, made.waitpoint_id))
    fill(acme, made.batch_id, 0, 1, 2)
    for work in worker.claim():
        assert worker.resume() == []
        worker.say(completed(work))
    assert len(worker.resume()) == 1
    assert unsound() == []


def test_the_runs_of_a_batch_are_waited_for_as_a_batch(acme, worker, parent):
    made = create(acme, 1, parent_run_id=get(parent.run).pk, resume_parent=True)
    fill(acme, made.batch_id, 0)
    child = batch_runs(acme.scope, made.batch_id)[0]
    assert (child.parent_id, child.trigger_function) == (get(parent.run).pk, "batchTriggerAndWait")
    assert child.version_number == "20261124.1"
    assert Waitpoint.objects.count() == 1


def test_a_parent_of_a_batch_that_fails_at_once_goes_on(acme, worker, parent):
    made = create(acme, 1, parent_run_id=get(parent.run).pk, resume_parent=True)
    worker.say(suspended(parent, made.waitpoint_id))
    fill(acme, made.batch_id, 0, machine="huge")
    assert len(worker.resume()) == 1


def test_a_parent_may_not_wait_for_itself_in_a_batch(acme, worker):
    parent = trigger(acme.scope, "parent", idempotency_key="me")
    worker.start(*worker.claim())
    made = create(acme, 1, parent_run_id=parent, resume_parent=True)
    fill(acme, made.batch_id, 0, task="parent", idempotency_key="me")
    (error,) = batch_errors(acme.scope, made.batch_id)
    assert error.error["code"] == "wait_cycle"
    assert status(made.batch_id) == "ABORTED"


# -- At once -----------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_callers_who_fill_one_batch_at_once_make_each_item_once():
    acme = factories.acme()
    worker = Worker(version(acme.production, "hello"), free=100)
    for _ in range(5):
        batch_id = create(acme, 20).batch_id
        parts = together(
            lambda: fill(acme, batch_id, *range(12)),  # noqa: B023 -- used in this turn
            lambda: fill(acme, batch_id, *range(8, 20)),  # noqa: B023
            lambda: [worker.say(completed(work)) for work in worker.claim()],
        )
        assert sum(part.accepted for part in parts[:2]) == 20
        for work in worker.claim():
            worker.say(completed(work))
        assert status(batch_id) == "COMPLETED"
    assert Run.objects.count() == 100
    assert unsound() == []


@pytest.mark.django_db(transaction=True)
def test_the_last_two_runs_of_a_batch_may_end_at_once():
    acme = factories.acme()
    worker = Worker(version(acme.production, "hello"))
    for _ in range(15):
        batch_id = create(acme, 2).batch_id
        fill(acme, batch_id, 0, 1)
        one, two = worker.claim()
        together(lambda: worker.say(completed(one)), lambda: worker.say(completed(two)))  # noqa: B023
        assert status(batch_id) == "COMPLETED"
    assert unsound() == []


# -- Tenancy -----------------------------------------------------------------------------------


def test_charlie_sees_and_fills_no_batch_of_alices(acme, worker, charlie):
    batch_id = create(acme, 1).batch_id
    for attempt in (
        lambda: fill(charlie, batch_id, 0),
        lambda: get_batch(charlie.scope, batch_id),
        lambda: batch_runs(charlie.scope, batch_id),
        lambda: batch_errors(charlie.scope, batch_id),
    ):
        with pytest.raises(NotFound):
            attempt()


def test_an_unknown_batch_is_not_found(acme):
    with pytest.raises(NotFound):
        fill(acme, new_id(), 0)


# -- Never filled ------------------------------------------------------------------------------


def test_a_batch_that_nobody_fills_is_given_up_and_its_parent_goes_on(acme, worker, parent):
    made = create(acme, 2, parent_run_id=get(parent.run).pk, resume_parent=True)
    fill(acme, made.batch_id, 0, now=later(10))
    worker.say(suspended(parent, made.waitpoint_id), now=later(10))

    assert abandon_batches(later(10 + limits().batch_seal_seconds - 1)) == 0
    assert abandon_batches(later(10 + limits().batch_seal_seconds)) == 1

    [resumed] = worker.resume(now=later(2_000))
    [told] = resumed.results
    assert (told.ok, told.error["code"]) == (False, "UNSPECIFIED_ERROR")
    assert status(made.batch_id) == "ABORTED"
    with pytest.raises(Conflict, match="given up"):
        fill(acme, made.batch_id, 1, now=later(2_000))
    assert abandon_batches(later(10_000)) == 0


def test_a_batch_that_is_sealed_is_not_given_up(acme, worker):
    made = create(acme, 1)
    fill(acme, made.batch_id, 0)
    assert abandon_batches(later(100_000)) == 0


# -- As large as they get ----------------------------------------------------------------------


@pytest.mark.calm("it ends runs inside of its own transaction")
def test_the_results_of_ten_thousand_items_come_in_their_order(acme, worker):
    count = limits().batch_items
    made = create(acme, count)
    for start in range(0, count, 500):
        progress = fill(acme, made.batch_id, *range(start, start + 500))
    assert (progress.sealed, progress.enqueued) == (True, count)
    again = fill(acme, made.batch_id, *range(500))
    assert (again.accepted, again.deduplicated) == (0, 500)
    finish_all(made.batch_id)

    results, after = [], -1
    while page := batch_results(acme.scope, made.batch_id, after=after, most=500):
        results += page
        after = page[-1].index
    assert [result.run.output for result in results] == [str(index) for index in range(count)]
    assert status(made.batch_id) == "COMPLETED"


def finish_all(batch_id):
    runs = Run.objects.filter(batch_id=batch_id).order_by("pk").values_list("pk", "batch_index")
    endings = [
        Ending(run_id=run_id, status=RunStatus.COMPLETED, output=str(index))
        for run_id, index in runs
    ]
    # the last first, so that the order of their ends is not that of the items
    for start in range(len(endings), 0, -1_000):
        finish_runs(endings[max(0, start - 1_000) : start], now=NOW)


@pytest.mark.calm("it counts statements")
def test_items_that_are_wrong_by_themselves_cost_no_search(
    acme, worker, django_assert_max_num_queries
):
    made = create(acme, 200)
    items = [
        BatchItemRequest(
            index=index,
            request=TriggerRequest(task="hello", tags=() if index % 2 else ("",)),
        )
        for index in range(200)
    ]
    with django_assert_max_num_queries(60):
        add_batch_items(acme.scope, batch_id=made.batch_id, items=items, now=NOW)
    assert [item.index for item in batch_errors(acme.scope, made.batch_id)] == [*range(0, 200, 2)]
