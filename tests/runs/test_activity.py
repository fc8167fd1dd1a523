"""How busy tasks have been, hour by hour, from a sample."""

from __future__ import annotations

import itertools
from datetime import timedelta
from uuid import UUID

import pytest

from apps.core.ids import floor
from apps.core.partitions import ensure_partitions
from apps.runs import activity
from apps.runs.activity import TaskActivity, task_activity
from apps.runs.models import PARTITIONED, Run
from tests.runs.engine import NOW

_NUMBERS = itertools.count(1)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def days():
    ensure_partitions(PARTITIONED, first=(NOW - timedelta(days=2)).date(), days=3)


def ran(tenant, *, ago: timedelta, task: str = "hello", status: str = "COMPLETED", count: int = 1):
    """Runs that were triggered so long ago, a second apart, and took two seconds each."""
    for number in range(count):
        at = NOW - ago + timedelta(seconds=number)
        Run.objects.create(
            id=UUID(int=floor(at).int + next(_NUMBERS)),
            environment=tenant.production,
            task=task,
            status=status,
            queue=f"task/{task}",
            attempt_count=1,
            created_at=at,
            updated_at=at,
            started_at=at,
            finished_at=at + timedelta(seconds=2),
        )


def of_hello(tenant) -> TaskActivity:
    return task_activity(tenant.scope, ["hello"], now=NOW)["hello"]


def test_runs_are_counted_by_hour_and_status(acme):
    ran(acme, ago=timedelta(minutes=10), count=3)
    ran(acme, ago=timedelta(minutes=20), status="FAILED")
    ran(acme, ago=timedelta(hours=23, minutes=30), status="CANCELED")
    found = of_hello(acme)
    assert found.hours[-1] == {"COMPLETED": 3, "FAILED": 1}
    assert found.hours[0] == {"CANCELED": 1}
    assert (found.runs, found.failed, found.failure_rate) == (5, 1, 0.25)
    assert (found.is_estimated, found.typical_seconds) == (False, 2.0)


def test_what_is_older_or_anothers_is_not_counted(acme, charlie):
    ran(acme, ago=timedelta(hours=25))
    ran(acme, ago=timedelta(minutes=5), task="parent")
    ran(charlie, ago=timedelta(minutes=5))
    found = of_hello(acme)
    assert (found.runs, found.failure_rate, found.typical_seconds) == (0, None, None)


def test_a_busy_hour_is_estimated_from_its_newest_runs(acme, monkeypatch):
    monkeypatch.setattr(activity, "_SAMPLE", (10, 10))
    ran(acme, ago=timedelta(minutes=6), count=10)
    found = of_hello(acme)
    assert found.is_estimated
    # ten runs in the latest six minutes of an hour
    assert found.hours[-1] == {"COMPLETED": 100}


def test_no_tasks_are_no_question(acme, django_assert_num_queries):
    scope = acme.scope
    with django_assert_num_queries(0):
        assert task_activity(scope, [], now=NOW) == {}


@pytest.mark.calm("it counts statements")
def test_any_number_of_tasks_is_one_query_and_how_to_plan_it(acme, django_assert_num_queries):
    scope = acme.scope
    with django_assert_num_queries(2):
        assert len(task_activity(scope, [f"task-{n}" for n in range(50)], now=NOW)) == 50
