"""What is known about runs, within a scope."""

from __future__ import annotations

from uuid import UUID

import pytest

from apps.core.errors import NotFound
from apps.core.paging import CursorPage
from apps.runs import queries
from apps.runs.queries import (
    RunFilters,
    attempts,
    child_runs,
    get_run,
    holders,
    list_events,
    list_runs,
)
from tests.runs.engine import completed, failed, get, later, trigger, unknown_run

pytestmark = pytest.mark.django_db


def listed(tenant, **filters):
    page = list_runs(tenant.scope, RunFilters(**filters), CursorPage(size=50))
    return [run.pk for run in page.items]


def test_runs_are_listed_newest_first(acme, worker):
    runs = [trigger(acme.scope) for _ in range(3)]
    assert listed(acme) == runs[::-1]


def test_a_list_may_be_of_nothing(acme, worker):
    trigger(acme.scope)
    assert listed(acme, is_empty=True) == []


@pytest.mark.parametrize(
    ("filters", "options"),
    [
        ({"tasks": ("parent",)}, {"task": "parent"}),
        ({"tags": ("a", "b")}, {"tags": ("b", "c")}),
        ({"queues": ("q",)}, {"queue": "q"}),
        ({"machines": ("micro",)}, {"machine": "micro"}),
        ({"versions": ("20261124.1",)}, {"version": "20261124.1"}),
        ({"statuses": ("DELAYED",)}, {"delay_until": later(60)}),
        ({"is_test": True}, {"is_test": True}),
    ],
)
def test_a_filter_finds_what_has_it(acme, worker, filters, options):
    trigger(acme.scope)
    wanted = trigger(acme.scope, **options)
    assert listed(acme, **filters) == [wanted]


def walked(tenant, filters: RunFilters) -> tuple[list[UUID], int]:
    """All runs that following the cursors finds, and in how many pages."""
    found, page, count = [], CursorPage(size=2), 0
    while True:
        part, count = list_runs(tenant.scope, filters, page), count + 1
        found += [run.pk for run in part.items]
        if part.next is None:
            return found, count
        page = CursorPage(size=2, after=part.next)


def test_a_rare_status_is_found_in_bounded_steps(acme, worker, monkeypatch):
    monkeypatch.setattr(queries, "MOST_TRIED", 3)
    rare = [trigger(acme.scope, delay_until=later(60))]
    for _ in range(7):
        trigger(acme.scope)
    rare.insert(0, trigger(acme.scope, delay_until=later(60)))
    first = list_runs(acme.scope, RunFilters(statuses=("DELAYED",)), CursorPage(size=2))
    assert ([run.pk for run in first.items], first.next is None) == (rare[:1], False)
    assert walked(acme, RunFilters(statuses=("DELAYED",))) == (rare, 4)
    assert walked(acme, RunFilters(statuses=("CRASHED",))) == ([], 4)


def test_runs_of_any_of_several_tags_are_found_in_bounded_steps(acme, worker, monkeypatch):
    monkeypatch.setattr(queries, "_MOST_TAGGED", 2)
    tags = [("a",), ("b",), ("a", "b"), ("c",), ("a",), ("a",), ("b",)]
    runs = [trigger(acme.scope, tags=each) for each in tags]
    wanted = [run for run, each in zip(runs, tags, strict=True) if each != ("c",)][::-1]
    found, _ = walked(acme, RunFilters(tags=("a", "b")))
    assert found == wanted


def test_a_run_with_two_of_the_tags_is_listed_once(acme, worker):
    run_id = trigger(acme.scope, tags=("a", "b"))
    assert listed(acme, tags=("a", "b")) == [run_id]


def test_what_happened_is_told_in_order(acme, worker):
    run_id = trigger(acme.scope)
    (work,) = worker.claim()
    worker.say(failed(work, retry_delay_ms=0))
    worker.say(completed(work, attempt=2))
    assert [event.kind for event in list_events(acme.scope, run_id)] == [
        "triggered", "dequeued", "started", "retrying", "started", "completed",
    ]  # fmt: skip
    assert [(one.number, one.status) for one in attempts(acme.scope, run_id)] == [
        (1, "FAILED"), (2, "COMPLETED"),
    ]  # fmt: skip


def test_children_are_listed_oldest_first(acme, worker):
    parent = trigger(acme.scope)
    children = [trigger(acme.scope, parent_run_id=parent) for _ in range(3)]
    assert [run.pk for run in child_runs(acme.scope, parent)] == children
    assert [run.pk for run in child_runs(acme.scope, parent, most=2)] == children[:2]


def test_who_holds_slots_is_known(acme, worker, charlie):
    trigger(acme.scope)
    (work,) = worker.claim()
    assert [holder.run_id for holder in holders(acme.scope)] == [get(work.run).pk]
    assert holders(charlie.scope) == []


def test_charlie_sees_nothing_of_alices(acme, worker, charlie):
    parent = trigger(acme.scope, tags=("a",))
    trigger(acme.scope, parent_run_id=parent)
    assert listed(charlie) == []
    assert listed(charlie, tags=("a",)) == []
    assert child_runs(charlie.scope, parent) == []
    for run_id in (parent, unknown_run()):
        for query in (get_run, list_events, attempts):
            with pytest.raises(NotFound):
                query(charlie.scope, run_id)
