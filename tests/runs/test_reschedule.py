"""Rescheduling: only what is delayed, and its time to live with it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from apps.core.errors import NotFound
from apps.runs.errors import NotReschedulable
from apps.runs.models import Timer
from apps.runs.operations.duties import expire, queue_due
from apps.runs.operations.reschedule import reschedule_run
from tests import factories
from tests.runs.engine import (
    NOW,
    failed,
    get,
    kinds,
    later,
    trigger,
    unknown_run,
    unsound,
    version,
)
from tests.runs.threads import one_before_other

pytestmark = pytest.mark.django_db


def reschedule(acme, run_id, seconds, now=NOW):
    return reschedule_run(acme.scope, run_id=run_id, delay_until=later(seconds), now=now)


def test_a_delayed_run_is_moved_later_and_earlier(acme, worker):
    run_id = trigger(acme.scope, delay_until=later(10))
    assert reschedule(acme, run_id, 100).delayed_until == later(100)
    assert queue_due(later(50)) == 0
    reschedule(acme, run_id, 20)
    assert queue_due(later(50)) == 1
    assert kinds(run_id) == ["triggered", "rescheduled", "rescheduled", "queued"]


def test_its_time_to_live_moves_with_it(acme, worker):
    run_id = trigger(acme.scope, delay_until=later(10), ttl=timedelta(seconds=5))
    reschedule(acme, run_id, 100)
    assert set(Timer.objects.values_list("due_at", flat=True)) == {later(100), later(105)}
    assert expire(later(104)) == 0
    assert expire(later(105)) == 1


def test_a_time_in_the_past_means_now(acme, worker):
    run_id = trigger(acme.scope, delay_until=later(10))
    reschedule(acme, run_id, -60)
    queue_due(NOW)
    assert get(run_id).status == "QUEUED"


def test_what_is_not_delayed_cannot_be_moved(acme, worker):
    queued = trigger(acme.scope)
    with pytest.raises(NotReschedulable):
        reschedule(acme, queued, 10)
    worker.say(failed(*worker.claim(), retry_delay_ms=60_000))
    assert get(queued).status == "DELAYED"
    with pytest.raises(NotReschedulable):
        reschedule(acme, queued, 10)


@pytest.mark.django_db(transaction=True)
def test_a_run_that_is_moved_in_the_moment_it_is_due_is_moved_or_queued():
    acme = factories.acme()
    version(acme.production, "hello")
    moved = trigger(acme.scope, delay_until=later(1))
    one_before_other(lambda: reschedule(acme, moved, 100), lambda: queue_due(later(2)))
    assert (get(moved).status, get(moved).delayed_until) == ("DELAYED", later(100))
    assert queue_due(later(2)) == 0
    queued = trigger(acme.scope, delay_until=later(1))

    def too_late():
        with pytest.raises(NotReschedulable):
            reschedule(acme, queued, 100)

    one_before_other(lambda: queue_due(later(2)), too_late)
    assert get(queued).status == "QUEUED"
    assert unsound() == []


def test_charlie_moves_nothing_of_alices(acme, worker, charlie):
    run_id = trigger(acme.scope, delay_until=later(10))
    for one in (run_id, unknown_run()):
        with pytest.raises(NotFound):
            reschedule(charlie, one, 100)
