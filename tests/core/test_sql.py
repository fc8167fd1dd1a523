"""Rows of several models in one statement, whatever they have in common."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from apps.core import sql
from apps.core.ids import new_id
from apps.runs.models import Run, RunEvent, RunTag, Timer
from tests import factories

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)

pytestmark = pytest.mark.django_db


@pytest.fixture
def environment_id():
    return factories.acme().production.id


def run(environment_id, **more: Any) -> Run:
    return Run(
        id=new_id(), environment_id=environment_id, task="resize", status="QUEUED", queue="q",
        source="api", trigger_function="trigger", machine="small-1x", max_attempts=1,
        created_at=NOW, updated_at=NOW, queued_at=NOW, **more,
    )  # fmt: skip


def stored(*runs: Run) -> list[Run]:
    found = Run.objects.in_bulk([each.pk for each in runs])
    return [found[each.pk] for each in runs]


def test_what_rows_have_in_common_and_what_not_is_stored_as_it_is(environment_id):
    runs = [
        run(environment_id, tags=["a", 'b"c', "{d,\\e}"], metadata={"n": 1}, payload=None),
        run(environment_id, tags=[], metadata={"é": [None, "\u2028"]}, payload="null"),
        run(environment_id, tags=["x"], idempotency_options={"key": "k"}, priority_seconds=0.1),
    ]

    sql.insert(runs)

    names = ("tags", "metadata", "payload", "idempotency_options", "priority_seconds", "queued_at")
    for given, found in zip(runs, stored(*runs), strict=True):
        assert [getattr(found, name) for name in names] == [getattr(given, name) for name in names]


def test_what_python_takes_for_equal_is_stored_as_it_is(environment_id):
    given = [{"n": 1}, {"n": True}, {"n": 1.0}]
    runs = [run(environment_id, metadata=metadata) for metadata in given]

    sql.insert(runs)

    found = [each.metadata["n"] for each in stored(*runs)]
    assert [(each, type(each)) for each in found] == [(1, int), (True, bool), (1.0, float)]


def test_a_single_row_of_each_model_and_none_of_another(environment_id, django_assert_num_queries):
    [one] = runs = [run(environment_id, tags=["a"])]
    event = RunEvent(run_id=one.pk, environment_id=environment_id, kind="triggered", at=NOW)
    due = Timer(run_id=one.pk, kind="ttl", due_at=NOW + timedelta(hours=1))

    with django_assert_num_queries(1):
        sql.insert(runs, [event], [], [due])

    assert stored(one)[0].tags == ["a"]
    assert RunEvent.objects.get(run_id=one.pk).kind == "triggered"
    assert Timer.objects.get(run_id=one.pk).due_at == due.due_at


def test_nothing_takes_no_statement(django_assert_num_queries):
    with django_assert_num_queries(0):
        sql.insert([], [])


def test_rows_that_are_the_same_are_still_several(environment_id):
    one = run(environment_id)
    sql.insert([one])
    tag = RunTag(run_id=one.pk, tag="a", environment_id=environment_id)

    with pytest.raises(IntegrityError), transaction.atomic():
        sql.insert([tag, tag])
