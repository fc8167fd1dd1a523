"""History goes a day at a time, and never what an open run needs."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import transaction

from apps.core.ids import floor
from apps.core.partitions import ensure_partitions, list_partitions
from apps.runs.models import PARTITIONED, Attempt, Batch, Run, RunEvent, RunTag
from apps.runs.operations import retention
from apps.runs.operations.retention import forget_history
from tests.runs.engine import NOW, Worker, completed, kinds, trigger
from tests.runs.threads import Background

LONG_AGO = NOW - timedelta(days=100)
DAY = LONG_AGO.date()


@pytest.fixture
def old_day():
    ensure_partitions(PARTITIONED, first=DAY, days=2)


def aged(run_id, moment=LONG_AGO):
    """Give a run and what belongs to it the ids of another day."""
    new = floor(moment).int + (run_id.int & (2**60 - 1))
    old_id = type(run_id)(int=new)
    Run.objects.filter(pk=run_id).update(id=old_id)
    RunTag.objects.filter(run_id=run_id).update(run_id=old_id)
    for model in (Attempt, RunEvent):
        for row in model.objects.filter(run_id=run_id):
            fresh = type(row.pk)(int=floor(moment).int + (row.pk.int & (2**60 - 1)))
            model.objects.filter(pk=row.pk).update(id=fresh, run_id=old_id)
    return old_id


def ended(acme, worker: Worker, **options):
    run_id = trigger(acme.scope, **options)
    (work,) = worker.claim()
    worker.start(work)
    worker.say(completed(work))
    return run_id


def days() -> set[object]:
    return {each.day for each in list_partitions(PARTITIONED)}


@pytest.mark.django_db
def test_a_day_whose_runs_have_all_ended_is_dropped(acme, worker, old_day):
    aged(ended(acme, worker, tags=("x",)))
    young = ended(acme, worker)

    assert forget_history(NOW) == 2 * len(PARTITIONED)

    assert DAY not in days()
    assert list(Run.objects.values_list("pk", flat=True)) == [young]
    assert Attempt.objects.count() == 1
    assert RunTag.objects.count() == 0
    assert kinds(young) == ["triggered", "dequeued", "started", "completed"]


@pytest.mark.django_db
def test_an_open_run_keeps_what_is_its_own(acme, worker, old_day):
    aged(ended(acme, worker, tags=("x",)))
    still_open = aged(trigger(acme.scope, tags=("y",)))

    while forget_history(NOW):
        pass

    assert DAY in days()
    assert list(Run.objects.values_list("pk", flat=True)) == [still_open]
    assert list(RunTag.objects.values_list("tag", flat=True)) == ["y"]
    assert kinds(still_open) == ["triggered"]
    assert not Attempt.objects.exists()


@pytest.mark.django_db
def test_thinning_takes_a_bite_at_a_time(acme, worker, old_day, monkeypatch):
    monkeypatch.setattr(retention, "BITE", 1)
    for _ in range(3):
        aged(ended(acme, worker))
    aged(trigger(acme.scope))

    forget_history(NOW)

    assert Run.objects.filter(finished_at__isnull=False).count() == 2
    while forget_history(NOW):
        pass
    assert Run.objects.count() == 1


@pytest.mark.django_db
def test_what_is_younger_stays(acme, worker, old_day, settings):
    settings.LIMITS = type(settings.LIMITS)(history_days=101)
    aged(ended(acme, worker))

    assert forget_history(NOW) == 0
    assert Run.objects.count() == 1


@pytest.mark.django_db
def test_zero_keeps_everything(acme, worker, old_day, settings):
    settings.LIMITS = type(settings.LIMITS)(history_days=0)
    aged(ended(acme, worker))

    assert forget_history(NOW + timedelta(days=10_000)) == 0
    assert Run.objects.count() == 1


@pytest.mark.django_db
def test_old_batches_go_with_their_items(acme, old_day):
    for completed_at in (LONG_AGO, None):
        Batch.objects.create(
            id=floor(LONG_AGO + timedelta(hours=bool(completed_at))), run_count=0,
            environment=acme.production, created_at=LONG_AGO, updated_at=LONG_AGO,
            sealed_at=LONG_AGO, completed_at=completed_at,
        )  # fmt: skip

    forget_history(NOW)

    assert [batch.completed_at for batch in Batch.objects.all()] == [None]


@pytest.mark.django_db(transaction=True)
def test_a_reader_who_stays_holds_up_the_drop_and_nothing_else(acme, worker):
    ensure_partitions(PARTITIONED, first=DAY, days=1)
    aged(ended(acme, worker))

    with transaction.atomic():
        assert Run.objects.count() == 1  # locks every partition until the end of the block
        dropping = Background(lambda: forget_history(NOW))
        dropping.result()
        assert Run.objects.count() == 1

    assert forget_history(NOW) > 0
    assert Run.objects.count() == 0
