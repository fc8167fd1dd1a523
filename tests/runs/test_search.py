"""The run list for people: any filter, newest first, at a bounded cost."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.core.errors import Forbidden
from apps.core.ids import created_at
from apps.core.paging import CursorPage, Page
from apps.environments.scope import Scope
from apps.orgs.actors import Actor
from apps.runs import search
from apps.runs.models import Run
from apps.runs.operations.batch import create_batch
from apps.runs.search import RunSearch, export_runs, recent_payloads, search_runs
from tests.runs.engine import NOW, later, trigger

pytestmark = pytest.mark.django_db


def found(tenant, page: CursorPage | None = None, **wanted) -> Page[Run]:
    return search_runs(tenant.scope, RunSearch(**wanted), page or CursorPage(size=50))


def ids(result):
    return [run.pk for run in result.items]


def test_runs_are_found_newest_first(acme, worker):
    runs = [trigger(acme.scope) for _ in range(3)]
    assert ids(found(acme)) == runs[::-1]


def test_charlie_finds_none_of_them(acme, worker, charlie):
    trigger(acme.scope)
    assert found(charlie).items == []


def test_a_credential_that_may_not_read_runs_is_refused(acme):
    blind = Actor(kind="public_token", id=None, scopes=("trigger:tasks",))
    scope = Scope(
        actor=blind,
        organization_id=acme.organization.id,
        project_id=acme.project.id,
        environment_id=acme.production.id,
    )
    with pytest.raises(Forbidden):
        search_runs(scope, RunSearch(), CursorPage(size=1))


@pytest.mark.parametrize(
    ("wanted", "options"),
    [
        ({"tasks": ("parent",)}, {"task": "parent"}),
        ({"tasks": ("parent", "other")}, {"task": "parent"}),
        ({"tags": ("blue",)}, {"tags": ("blue",)}),
        ({"tags": ("blue", "red")}, {"tags": ("red", "blue")}),
        ({"statuses": ("DELAYED",)}, {"delay_until": later(60)}),
        ({"queues": ("mail",)}, {"queue": "mail"}),
        ({"is_test": True}, {"is_test": True}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_filter_keeps_what_it_means(acme, worker, wanted, options):
    trigger(acme.scope)
    mine = trigger(acme.scope, **options)
    trigger(acme.scope, tags=("blue",) if "red" in wanted.get("tags", ()) else ())
    assert ids(found(acme, **wanted)) == [mine]


def test_a_run_is_found_by_its_id_and_a_batch_by_its(acme, worker):
    one, _ = trigger(acme.scope), trigger(acme.scope)
    assert ids(found(acme, run_id=one)) == [one]
    batch = create_batch(acme.scope, run_count=1, now=NOW).batch_id
    member = trigger(acme.scope, batch_id=batch, batch_index=0)
    assert ids(found(acme, batch_id=batch)) == [member]


def test_children_may_be_left_out(acme, worker):
    parent = trigger(acme.scope)
    trigger(acme.scope, parent_run_id=parent)
    assert ids(found(acme, only_roots=True)) == [parent]


def test_a_period_begins_and_ends(acme, worker):
    run = trigger(acme.scope)
    made = Run.objects.get(pk=run).pk
    moment = created_at(made)
    assert ids(found(acme, created_from=moment, created_to=moment + timedelta(seconds=1))) == [run]
    assert found(acme, created_to=moment).items == []
    assert found(acme, created_from=moment + timedelta(seconds=1)).items == []


def test_pages_lead_to_older_and_back_to_newer_runs(acme, worker):
    runs = [trigger(acme.scope) for _ in range(5)][::-1]
    first = found(acme, CursorPage(size=2))
    assert (ids(first), first.previous, first.searched_to) == (runs[:2], None, None)
    second = found(acme, CursorPage(size=2, after=first.next))
    assert ids(second) == runs[2:4]
    last = found(acme, CursorPage(size=2, after=second.next))
    assert (ids(last), last.next) == (runs[4:], None)
    back = found(acme, CursorPage(size=2, before=last.previous))
    assert ids(back) == runs[2:4]
    front = found(acme, CursorPage(size=2, before=back.previous))
    assert (ids(front), front.previous, front.next) == (runs[:2], None, runs[1])


def test_a_rare_status_is_looked_for_within_a_bound_and_further_on_demand(
    acme, worker, monkeypatch
):
    monkeypatch.setattr(search, "MOST_SCANNED", 3)
    rare = trigger(acme.scope, delay_until=later(60))
    others = [trigger(acme.scope) for _ in range(4)][::-1]
    first = found(acme, statuses=("DELAYED",))
    assert first.items == []
    assert first.searched_to == created_at(others[2])
    second = found(acme, CursorPage(size=50, after=first.next), statuses=("DELAYED",))
    assert (ids(second), second.next, second.searched_to) == ([rare], None, None)


def test_the_way_back_is_bounded_too(acme, worker, monkeypatch):
    monkeypatch.setattr(search, "MOST_SCANNED", 3)
    oldest = trigger(acme.scope, delay_until=later(60))
    runs = [trigger(acme.scope) for _ in range(5)]
    wanted = {"statuses": ("DELAYED",)}
    first = found(acme, CursorPage(size=50, before=oldest), **wanted)
    assert (first.items, first.previous) == ([], runs[2])
    assert first.searched_to == created_at(runs[2])
    second = found(acme, CursorPage(size=50, before=first.previous), **wanted)
    assert (second.items, second.previous, second.searched_to) == ([], None, None)


def test_a_common_tag_is_looked_for_within_a_bound(acme, worker, monkeypatch):
    monkeypatch.setattr(search, "_TAGGED", 2)
    rare = trigger(acme.scope, tags=("blue",), delay_until=later(60))
    others = [trigger(acme.scope, tags=("blue",)) for _ in range(3)][::-1]
    first = found(acme, tags=("blue",), statuses=("DELAYED",))
    assert (first.items, first.next) == ([], others[1])
    second = found(
        acme, CursorPage(size=50, after=first.next), tags=("blue",), statuses=("DELAYED",)
    )
    assert ids(second) == [rare]


def test_a_page_costs_one_query_and_a_filter_without_an_index_one_more(acme, worker):
    scope = acme.scope
    trigger(scope, tags=("blue",))
    for wanted, queries in (
        (RunSearch(), 1),
        (RunSearch(tasks=("hello",)), 1),
        (RunSearch(statuses=("QUEUED",)), 2),
        (RunSearch(tags=("blue",)), 2),
    ):
        with CaptureQueriesContext(connection) as asked:
            assert search_runs(scope, wanted, CursorPage(size=50)).items
        assert len(asked) == queries, wanted


def test_a_list_reads_no_payload(acme, worker):
    trigger(acme.scope, payload='"large"')
    assert "payload" in found(acme).items[0].get_deferred_fields()


def test_an_export_goes_through_all_pages_and_ends_at_its_bound(acme, worker, monkeypatch):
    monkeypatch.setattr(search, "_EXPORTED_AT_ONCE", 2)
    runs = [trigger(acme.scope) for _ in range(5)][::-1]
    parts = [[run.pk for run in part] for part in export_runs(acme.scope, RunSearch())]
    assert parts == [runs[:2], runs[2:4], runs[4:]]
    monkeypatch.setattr(search, "MOST_EXPORTED", 3)
    kept = [run.pk for part in export_runs(acme.scope, RunSearch()) for run in part]
    assert kept == runs[:3]


def test_recent_payloads_are_those_of_a_task_that_are_json(acme, worker):
    one = trigger(acme.scope, payload='{"n":1}')
    trigger(acme.scope, payload="text", payload_type="text/plain")
    trigger(acme.scope, task="parent", payload='{"n":2}')
    trigger(acme.scope, payload=None)
    recent = recent_payloads(acme.scope, RunSearch(tasks=("hello",)), CursorPage(size=8))
    assert [(run.pk, run.payload) for run in recent] == [(one, '{"n":1}')]
