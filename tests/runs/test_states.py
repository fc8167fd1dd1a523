"""The table of moves: where runs begin, where they end, and that the schema agrees."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, transaction

from apps.runs.models import Run
from apps.runs.states import ALLOWED, FINAL, AttemptStatus, RunStatus
from tests.runs.engine import FIRST, NOW, get, trigger


def reachable(start: set[RunStatus]) -> set[RunStatus]:
    found, fresh = set(start), set(start)
    while fresh:
        fresh = {after for before in fresh for after in ALLOWED[before]} - found
        found |= fresh
    return found


def test_every_status_has_its_moves():
    assert set(ALLOWED) == set(RunStatus)


def test_nothing_leaves_an_end():
    assert {status for status in RunStatus if not ALLOWED[status]} == FINAL


def test_every_status_can_be_reached_from_the_first_ones():
    assert reachable(FIRST) == set(RunStatus)


@pytest.mark.parametrize("status", sorted(set(RunStatus) - FINAL))
def test_every_run_can_end_and_be_canceled(status):
    assert RunStatus.CANCELED in ALLOWED[status]
    assert RunStatus.COMPLETED in reachable({status})


def test_only_what_has_not_started_expires():
    expiring = {status for status in RunStatus if RunStatus.EXPIRED in ALLOWED[status]}
    assert expiring == FIRST


def test_an_attempt_ends_as_a_run_may():
    assert {status.value for status in AttemptStatus} <= {status.value for status in RunStatus}


@pytest.mark.django_db
@pytest.mark.parametrize(
    "fields",
    [
        {"status": "COMPLETED"},
        {"finished_at": NOW},
        {"expired_at": NOW},
        {"status": "DELAYED"},
        {"status": "EXECUTING"},
        {"status": "WAITING", "started_at": NOW},
        {"status": "WAITING", "attempt_count": 1},
    ],
)
def test_the_schema_keeps_status_and_times_together(acme, worker, fields):
    run = get(trigger(acme.scope))
    with pytest.raises(IntegrityError), transaction.atomic():
        Run.objects.filter(pk=run.pk).update(**fields)
