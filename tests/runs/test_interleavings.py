"""Pairs of operations that meet: either one a moment before the other's commit, or at once.

Each scene is played with the first operation's transaction still open while the second begins,
then the other way round, then many times with both at the same moment. Whatever wins, the engine
is sound afterwards, and every move was allowed.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from apps.core.errors import Conflict
from apps.deployments.models import Promotion
from apps.runs.models import EnvironmentSlots, Lane, Lease, ReadyRun, Run, Wait
from apps.runs.operations.duties import (
    end_overdue_cancellations,
    expire,
    queue_due,
    release_pending,
    rescue,
)
from apps.runs.operations.metadata import change_metadata
from apps.runs.operations.sessions import Beats, extend_leases
from holdfast.protocol import Execute, MetadataChanged, Settled, Stale
from tests.runs.engine import (
    ask,
    completed,
    failed,
    get,
    later,
    rejected,
    suspended,
    trigger,
    version,
)
from tests.runs.meetings import Scene, Shop, is_final, play

pytestmark = pytest.mark.django_db(transaction=True)

# -- Scenes ------------------------------------------------------------------------------------


def claim_and_cancel(shop: Shop) -> Scene:
    run_id, worker = trigger(shop.scope), shop.worker()

    def check(works: list[Execute], _: Run) -> None:
        run = get(run_id)
        assert (run.status == "DEQUEUED") == bool(works)
        assert run.cancel_requested_at if works else run.status == "CANCELED"
        for work in works:
            worker.say(failed(work, outcome="canceled"))
        assert get(run_id).status == "CANCELED"

    return worker.claim, lambda: shop.cancel(run_id), check


def complete_and_cancel(shop: Shop) -> Scene:
    worker, work = shop.executing()

    def check(answers: list[Any], _: Run) -> None:
        assert [answer.outcome for answer in answers] == ["final"]
        assert get(work.run).status == "COMPLETED"

    return lambda: worker.say(completed(work)), lambda: shop.cancel(work.run), check


def retry_and_cancel(shop: Shop) -> Scene:
    worker, work = shop.executing()

    def check(answers: list[Any], _: Run) -> None:
        assert is_final(work.run) or get(work.run).cancel_requested_at
        assert answers[0].outcome in {"final", "requeued"}

    return (
        lambda: worker.say(failed(work, outcome="crashed", retry_delay_ms=60_000)),
        lambda: shop.cancel(work.run),
        check,
    )


def child_completes_and_parent_suspends(shop: Shop) -> Scene:
    worker, parent, points, (child,) = shop.family()

    def check(*_: Any) -> None:
        assert len(worker.resume()) == 1
        assert get(parent.run).status == "EXECUTING"

    return (
        lambda: worker.say(completed(child)),
        lambda: worker.say(suspended(parent, *points)),
        check,
    )


def both_children_of_a_parent_that_waits_for_all_complete(shop: Shop) -> Scene:
    worker, parent, points, (one, two) = shop.family(2)
    worker.say(suspended(parent, *points, need="all"))

    def check(*_: Any) -> None:
        (resume,) = worker.resume()
        assert len(resume.results) == 2

    return lambda: worker.say(completed(one)), lambda: worker.say(completed(two)), check


def both_children_of_a_parent_that_waits_for_any_complete(shop: Shop) -> Scene:
    worker, parent, points, (one, two) = shop.family(2)
    worker.say(suspended(parent, *points))

    def check(*_: Any) -> None:
        (resume,) = worker.resume()
        assert len(resume.results) == 2

    return lambda: worker.say(completed(one)), lambda: worker.say(completed(two)), check


def run_completes_and_somebody_begins_to_wait_for_it(shop: Shop) -> Scene:
    """Its waitpoint may be made after the completion has locked those that there were."""
    worker, parent = shop.executing("parent")
    key = f"k{Run.objects.count()}"
    trigger(shop.scope, idempotency_key=key)
    (child,) = worker.claim()
    worker.start(child)

    def wait() -> Any:
        return ask(
            shop.scope, idempotency_key=key, parent_run_id=get(parent.run).pk, resume_parent=True
        )

    def check(_: Any, made: Any) -> None:
        assert made.run_id == get(child.run).pk
        worker.say(suspended(parent, made.waitpoint_id))
        assert len(worker.resume()) == 1

    return lambda: worker.say(completed(child)), wait, check


def child_completes_and_parent_is_canceled(shop: Shop) -> Scene:
    worker, parent, points, (child,) = shop.family()
    worker.say(suspended(parent, *points))

    def check(*_: Any) -> None:
        assert get(parent.run).status == "CANCELED"
        assert worker.resume() == []
        if not is_final(child.run):
            worker.say(failed(child, outcome="canceled"))

    return lambda: worker.say(completed(child)), lambda: shop.cancel(parent.run), check


def child_completes_and_parents_worker_is_lost(shop: Shop) -> Scene:
    worker, parent, points, (child,) = shop.family()
    other = shop.worker()
    worker.say(suspended(parent, *points))
    Lease.objects.exclude(pk=get(parent.run).pk).update(expires_at=later(500))

    def check(_: list[Any], rescued: int) -> None:
        assert rescued + rescue(later(61)) == 1
        assert get(parent.run).status == "DELAYED"
        assert not Wait.objects.filter(run_id=get(parent.run).pk).exists()
        assert other.resume() == []

    return lambda: worker.say(completed(child)), lambda: rescue(later(61)), check


def resume_and_cancel(shop: Shop) -> Scene:
    worker, parent, points, (child,) = shop.family()
    worker.say(suspended(parent, *points))
    worker.say(completed(child))

    def check(resumes: list[Any], _: Run) -> None:
        run = get(parent.run)
        assert run.cancel_requested_at if resumes else run.status == "CANCELED"
        for resume in resumes:
            worker.say(failed(parent, generation=resume.generation, outcome="canceled"))
        assert get(parent.run).status == "CANCELED"

    return worker.resume, lambda: shop.cancel(parent.run), check


def resume_and_rescue(shop: Shop) -> Scene:
    worker, parent, points, (child,) = shop.family()
    worker.say(suspended(parent, *points))
    worker.say(completed(child))

    def check(resumes: list[Any], rescued: int) -> None:
        assert (len(resumes), rescued) in {(1, 0), (0, 1)}

    return lambda: worker.resume(now=later(61)), lambda: rescue(later(61)), check


def rescue_and_complete(shop: Shop) -> Scene:
    worker, work = shop.executing()

    def check(rescued: int, answers: list[Any]) -> None:
        (answer,) = answers
        if rescued:
            assert isinstance(answer, Stale)
            assert get(work.run).status == "DELAYED"
        else:
            assert isinstance(answer, Settled)
            assert get(work.run).status == "COMPLETED"

    return lambda: rescue(later(61)), lambda: worker.say(completed(work)), check


def rescue_and_start(shop: Shop) -> Scene:
    run_id, worker = trigger(shop.scope), shop.worker()
    (work,) = worker.claim()

    def check(rescued: int, answers: list[Any]) -> None:
        assert [type(answer) for answer in answers] == [Stale] * rescued
        assert get(run_id).status == ("QUEUED" if rescued else "EXECUTING")
        shop.cancel(run_id)

    return lambda: rescue(later(11)), lambda: worker.start(work, now=later(11)), check


def rescue_and_beat(shop: Shop) -> Scene:
    worker, work = shop.executing()
    beats = [Beats(session_id=worker.session_id, generations={get(work.run).pk: 1})]

    def check(rescued: int, extended: Any) -> None:
        assert (rescued == 1) == bool(extended.answers)
        assert (rescued == 0) == Lease.objects.filter(pk=get(work.run).pk).exists()

    return lambda: rescue(later(61)), lambda: extend_leases(beats, now=later(61)), check


def rescue_and_rescue(shop: Shop) -> Scene:
    _, work = shop.executing()

    def check(one: int, two: int) -> None:
        assert one + two == 1
        assert get(work.run).status == "DELAYED"

    return lambda: rescue(later(61)), lambda: rescue(later(61)), check


def expire_and_claim(shop: Shop) -> Scene:
    run_id = trigger(shop.scope, ttl=timedelta(seconds=5))
    worker = shop.worker()

    def check(_: int, works: list[Execute]) -> None:
        assert get(run_id).status == ("DEQUEUED" if works else "EXPIRED")
        for work in works:
            worker.start(work, now=later(7))

    return lambda: expire(later(6)), lambda: worker.claim(now=later(6)), check


def expire_and_cancel(shop: Shop) -> Scene:
    run_id = trigger(shop.scope, ttl=timedelta(seconds=5))

    def check(*_: Any) -> None:
        assert is_final(run_id)

    return lambda: expire(later(6)), lambda: shop.cancel(run_id), check


def due_and_cancel(shop: Shop) -> Scene:
    run_id = trigger(shop.scope, delay_until=later(1))

    def check(*_: Any) -> None:
        assert get(run_id).status == "CANCELED"

    return lambda: queue_due(later(2)), lambda: shop.cancel(run_id), check


def overdue_and_complete(shop: Shop) -> Scene:
    worker, work = shop.executing()
    shop.cancel(work.run)

    def check(ended: int, answers: list[Any]) -> None:
        assert get(work.run).status == ("CANCELED" if ended else "COMPLETED")
        assert isinstance(answers[0], Stale) == bool(ended)

    return (
        lambda: end_overdue_cancellations(later(100)),
        lambda: worker.say(completed(work)),
        check,
    )


def trigger_and_claim(shop: Shop) -> Scene:
    worker = shop.worker()
    worker.claim()

    def check(run_id: Any, works: list[Execute]) -> None:
        assert Lane.objects.filter(queue="task/hello", is_open=False).exists() is False or (
            not ReadyRun.objects.exists()
        )
        assert len(works) + len(worker.claim()) == 1
        assert get(run_id).status == "DEQUEUED"

    return lambda: trigger(shop.scope), worker.claim, check


def claim_and_claim(shop: Shop) -> Scene:
    for _ in range(6):
        trigger(shop.scope)
    one, two = shop.worker(), shop.worker()

    def check(mine: list[Execute], theirs: list[Execute]) -> None:
        names = [work.run for work in mine + theirs]
        assert len(names) == len(set(names))
        assert EnvironmentSlots.objects.get().used == Lease.objects.filter(holds_slot=True).count()

    return lambda: one.claim(free=4), lambda: two.claim(free=4), check


def complete_twice(shop: Shop) -> Scene:
    worker, work = shop.executing()

    def check(one: list[Any], two: list[Any]) -> None:
        assert {type(answer) for answer in one + two} == {Settled, Stale}

    return (
        lambda: worker.say(completed(work, output="1")),
        lambda: worker.say(completed(work, output="2")),
        check,
    )


def metadata_and_complete(shop: Shop) -> Scene:
    worker, work = shop.executing()

    def check(*_: Any) -> None:
        run = get(work.run)
        assert (run.status, run.metadata) == ("COMPLETED", {"a": 1})

    def change() -> None:
        change_metadata(shop.scope, run_id=get(work.run).pk, metadata={"a": 1}, now=later(3))

    return change, lambda: worker.say(completed(work)), check


def promote_and_trigger(shop: Shop) -> Scene:
    number = f"20261125.{Run.objects.count() + 1}"

    def promote() -> None:
        version(shop.acme.production, "hello", "parent", f"unborn{number}", number=number)

    def check(_: Any, run_id: Any) -> None:
        release_pending(later(5))
        assert get(run_id).status == "QUEUED"
        shop.cancel(run_id)
        Promotion.objects.update(version=shop.version)

    return promote, lambda: trigger(shop.scope, f"unborn{number}"), check


def release_and_cancel(shop: Shop) -> Scene:
    task = f"unborn{Run.objects.count()}"
    run_id = trigger(shop.scope, task)
    shop.version.tasks.create(slug=task, queue_name=f"task/{task}")

    def check(*_: Any) -> None:
        assert get(run_id).status == "CANCELED"

    return lambda: release_pending(later(2)), lambda: shop.cancel(run_id), check


def trigger_child_and_cancel_parent(shop: Shop) -> Scene:
    worker, parent = shop.executing("parent")
    parent_id = get(parent.run).pk

    def child() -> Any:
        with suppress(Conflict):
            return trigger(shop.scope, parent_run_id=parent_id)

    def check(child_id: Any, _: Run) -> None:
        assert child_id is None or get(child_id).status == "CANCELED"
        worker.say(failed(parent, outcome="canceled"))

    return child, lambda: shop.cancel(parent_id), check


def give_back_and_complete(shop: Shop) -> Scene:
    """Two workers whose batches free slots of the same lanes in another order."""
    for task in ("hello", "parent") * 2:
        trigger(shop.scope, task)
    one, two = shop.worker(), shop.worker()
    mine, theirs = one.claim(free=2), two.claim(free=2)

    def check(*_: Any) -> None:
        assert not Lease.objects.filter(session_id__in=[one.session_id, two.session_id]).exists()
        for run in Run.objects.filter(status="QUEUED"):
            shop.cancel(run.pk)

    return (
        lambda: one.say(completed(mine[0]), rejected(mine[1])),
        lambda: two.say(rejected(theirs[0]), completed(theirs[1])),
        check,
    )


def batches_hold_each_others_parents(shop: Shop) -> Scene:
    """Each batch tells of one parent and ends the child of the other's."""
    worker, parent, points, (child,) = shop.family()
    other, their_parent, their_points, (their_child,) = shop.family()
    worker.say(suspended(parent, *points))
    other.say(suspended(their_parent, *their_points))
    # the children have changed hands
    Lease.objects.filter(pk=get(child.run).pk).update(session_id=other.session_id)
    Lease.objects.filter(pk=get(their_child.run).pk).update(session_id=worker.session_id)

    def note(work: Execute) -> MetadataChanged:
        step = {"type": "increment", "key": "n", "value": 1}
        return MetadataChanged(run=work.run, generation=work.generation, operations=[step])

    def check(*_: Any) -> None:
        assert len(worker.resume()) == len(other.resume()) == 1
        assert get(parent.run).metadata == get(their_parent.run).metadata == {"n": 1}

    return (
        lambda: worker.say(note(parent), completed(their_child)),
        lambda: other.say(note(their_parent), completed(child)),
        check,
    )


SCENES = [
    claim_and_cancel,
    complete_and_cancel,
    retry_and_cancel,
    child_completes_and_parent_suspends,
    both_children_of_a_parent_that_waits_for_all_complete,
    both_children_of_a_parent_that_waits_for_any_complete,
    run_completes_and_somebody_begins_to_wait_for_it,
    child_completes_and_parent_is_canceled,
    child_completes_and_parents_worker_is_lost,
    resume_and_cancel,
    resume_and_rescue,
    rescue_and_complete,
    rescue_and_start,
    rescue_and_beat,
    rescue_and_rescue,
    expire_and_claim,
    expire_and_cancel,
    due_and_cancel,
    overdue_and_complete,
    trigger_and_claim,
    claim_and_claim,
    complete_twice,
    metadata_and_complete,
    promote_and_trigger,
    release_and_cancel,
    trigger_child_and_cancel_parent,
    give_back_and_complete,
    batches_hold_each_others_parents,
]


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_whoever_comes_first_the_engine_is_sound(scene, deadlocks):
    play(scene, deadlocks)
