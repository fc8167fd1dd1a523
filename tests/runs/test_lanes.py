"""Lanes: opened by who adds a run, closed by the claim, and never with a run inside."""

from __future__ import annotations

import pytest
from django.db import transaction

from apps.deployments.models import Queue
from apps.runs.models import Lane, ReadyRun, Run
from tests import factories
from tests.runs.engine import NOW, Worker, completed, get, later, trigger, unsound, version
from tests.runs.threads import Background, holding, together, wait_until_blocked


@pytest.mark.django_db
def test_a_lane_is_made_with_the_limit_and_the_pause_of_its_queue(acme, worker):
    Queue.objects.create(
        environment=acme.production, name="q", concurrency_limit=5, override=2, paused_at=NOW,
        created_at=NOW,
    )  # fmt: skip
    trigger(acme.scope, queue="q")
    lane = Lane.objects.get()
    assert (lane.cap, lane.slots.is_paused, lane.is_open, lane.used) == (2, True, True, 0)
    assert worker.claim() == []


@pytest.mark.django_db
def test_a_lane_with_only_a_held_run_closes(acme, worker):
    trigger(acme.scope)
    (work,) = worker.claim()
    ReadyRun.objects.create(
        run_id=get(work.run).pk, environment_id=acme.production.pk, lane=Lane.objects.get(),
        machine="", order_at=NOW, session_id=worker.session_id,
    )  # fmt: skip
    worker.claim(now=later(1))
    assert not Lane.objects.get().is_open
    ReadyRun.objects.all().delete()


@pytest.mark.django_db(transaction=True)
def test_a_lane_stays_open_while_a_run_is_being_added():
    acme = factories.acme()
    worker = Worker(version(acme.production, "hello"))
    trigger(acme.scope)
    worker.claim()
    with holding(lambda: trigger(acme.scope)):
        assert worker.claim() == []
        assert Lane.objects.get().is_open
    assert len(worker.claim()) == 1


@pytest.mark.django_db(transaction=True)
def test_a_lane_stays_open_when_a_run_was_added_after_the_claim_began():
    acme = factories.acme()
    worker = Worker(version(acme.production, "hello", "other"))
    trigger(acme.scope, "hello")
    (work,) = worker.claim()
    worker.say(completed(work))
    slow = trigger(acme.scope, "other")
    with transaction.atomic():
        Run.objects.select_for_update().get(pk=slow)
        claiming = Background(worker.claim)  # has its snapshot, and waits for the run
        wait_until_blocked(claiming)
        Background(lambda: trigger(acme.scope, "hello")).result()
    assert [work.task for work in claiming.result()] == ["other"]
    assert Lane.objects.get(queue="task/hello").is_open
    assert [work.task for work in worker.claim()] == ["hello"]
    assert unsound() == []


@pytest.mark.django_db(transaction=True)
def test_a_trigger_that_waited_for_the_closing_of_its_lane_opens_it():
    acme = factories.acme()
    worker = Worker(version(acme.production, "hello"))
    trigger(acme.scope)
    worker.claim()
    with holding(worker.claim):  # closes the lane
        adding = Background(lambda: trigger(acme.scope))
        wait_until_blocked(adding)
        assert not adding.is_done
    adding.result()
    assert Lane.objects.get().is_open
    assert len(worker.claim()) == 1


@pytest.mark.django_db(transaction=True)
def test_no_run_is_left_in_a_closed_lane_however_triggers_and_claims_meet():
    acme = factories.acme()
    worker = Worker(version(acme.production, "hello"))
    for turn in range(40):
        together(
            lambda turn=turn: trigger(acme.scope, concurrency_key=f"k{turn % 3}"),
            lambda turn=turn: trigger(acme.scope, concurrency_key=f"k{turn % 2}"),
            worker.claim,
        )
        assert not ReadyRun.objects.filter(lane__is_open=False).exists()
        for work in worker.claim(free=50):
            worker.say(completed(work))
    assert unsound() == []
