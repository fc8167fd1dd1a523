"""Bulk actions: chosen by a filter or by ids, taken step by step, aborted, never twice on a run."""

from __future__ import annotations

from datetime import timedelta

import pytest

from apps.core import clock
from apps.core.errors import Conflict, Forbidden, Invalid, NotFound
from apps.core.ids import floor, new_id
from apps.core.paging import CursorPage
from apps.orgs.models import AuditEntry
from apps.orgs.roles import Role
from apps.runs.models import BulkAction, BulkItem, Run
from apps.runs.operations import bulk
from apps.runs.operations.bulk import (
    abort_bulk_action,
    advance_bulk_action,
    create_bulk_action,
    forget_bulk_actions,
    stalled_bulk_actions,
)
from apps.runs.queries import (
    RunFilters,
    bulk_items,
    get_bulk_action,
    list_bulk_actions,
    list_runs,
)
from apps.runs.states import BulkKind, RunStatus
from tests import factories
from tests.runs.engine import NOW, get, later, trigger, unsound
from tests.runs.threads import together

pytestmark = pytest.mark.django_db
HELLO = RunFilters(tasks=("hello",))
AFTER = clock.now() + timedelta(days=1)  # ids are made by the real clock


@pytest.fixture(autouse=True)
def today(monkeypatch):
    """Filters compare ids, which are made by the real clock, with the tests' own time."""
    monkeypatch.setattr(bulk, "DEFAULT_PERIOD", timedelta(days=3_650))


def create(acme, kind=BulkKind.CANCEL, *, now=AFTER, **options):
    return create_bulk_action(acme.scope, kind=kind, now=now, **options)


def work(action):
    """Take all steps; how many there were."""
    steps = 1
    while advance_bulk_action(action.pk, clock=lambda: AFTER):
        steps += 1
    action.refresh_from_db()
    return steps


def counts(action):
    return action.total_count, action.success_count, action.failure_count


def test_runs_of_a_filter_are_canceled_and_others_are_not(acme, worker):
    mine = [trigger(acme.scope) for _ in range(3)]
    other = trigger(acme.scope, "parent")
    action = create(acme, filters=HELLO)
    work(action)
    assert {get(run).status for run in mine} == {RunStatus.CANCELED}
    assert get(mine[0]).status_reason == "canceled in bulk"
    assert get(other).status == RunStatus.QUEUED
    assert (action.status, counts(action)) == ("COMPLETED", (3, 3, 0))
    assert unsound() == []


def test_runs_are_replayed_with_what_they_had(acme, worker):
    run = trigger(acme.scope, payload='"x"', tags=("t",))
    action = create(acme, BulkKind.REPLAY, filters=HELLO)
    work(action)
    [replayed] = Run.objects.filter(replay_of_id=run)
    assert (replayed.payload, replayed.tags) == ('"x"', ["t"])
    assert counts(action) == (1, 1, 0)
    page = list_runs(acme.scope, RunFilters(bulk_action_id=action.pk), CursorPage())
    assert [found.pk for found in page.items] == [replayed.pk]


def test_many_runs_are_taken_in_steps(acme, worker, monkeypatch):
    monkeypatch.setattr(bulk, "STEP", 4)
    for _ in range(10):
        trigger(acme.scope)
    action = create(acme, filters=HELLO)
    assert work(action) == 3
    assert counts(action) == (10, 10, 0)


def test_named_runs_that_cannot_be_acted_on_are_told_with_a_reason(acme, worker):
    ended, open_ = trigger(acme.scope), trigger(acme.scope)
    first = create(acme, run_ids=[ended])
    work(first)
    stranger = new_id()
    action = create(acme, run_ids=[ended, open_, stranger])
    work(action)
    assert counts(action) == (3, 1, 2)
    failed = bulk_items(acme.scope, action.pk, only_failed=True)
    assert {item.run_id: item.error for item in failed} == {
        ended: "the run had ended",
        stranger: "Not found",
    }


def test_a_step_that_is_repeated_acts_on_no_run_twice(acme, worker):
    action = create(acme, BulkKind.REPLAY, run_ids=[trigger(acme.scope) for _ in range(3)])
    work(action)
    # as if the process had died before the end of the step was written
    BulkAction.objects.filter(pk=action.pk).update(status="PENDING", completed_at=None, cursor=None)
    work(action)
    assert Run.objects.filter(replay_of_id__isnull=False).count() == 3
    assert counts(action) == (3, 3, 0)


@pytest.mark.django_db(transaction=True)
def test_two_jobs_work_on_one_action_one_at_a_time():
    tenant = factories.acme()
    runs = [trigger(tenant.scope) for _ in range(6)]
    action = create(tenant, BulkKind.REPLAY, run_ids=runs)
    together(*[lambda: advance_bulk_action(action.pk, clock=lambda: AFTER)] * 3)
    work(action)
    assert Run.objects.filter(replay_of_id__isnull=False).count() == 6
    assert counts(action) == (6, 6, 0)


def test_an_aborted_action_touches_nothing_more(acme, worker, monkeypatch):
    monkeypatch.setattr(bulk, "STEP", 2)
    runs = [trigger(acme.scope) for _ in range(4)]
    action = create(acme, filters=HELLO)
    assert advance_bulk_action(action.pk, clock=lambda: AFTER)
    abort_bulk_action(acme.scope, bulk_action_id=action.pk, now=AFTER)
    abort_bulk_action(acme.scope, bulk_action_id=action.pk, now=AFTER)
    work(action)
    assert [get(run).status for run in runs] == ["QUEUED", "QUEUED", "CANCELED", "CANCELED"]
    assert (action.status, counts(action)) == ("ABORTED", (4, 2, 0))


def test_a_completed_action_is_not_aborted(acme, worker):
    action = create(acme, run_ids=[trigger(acme.scope)])
    work(action)
    with pytest.raises(Conflict):
        abort_bulk_action(acme.scope, bulk_action_id=action.pk, now=AFTER)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"filters": RunFilters()},
        {"filters": HELLO, "run_ids": [new_id()]},
        {"run_ids": [new_id() for _ in range(501)]},
        {"filters": HELLO, "name": "x" * 256},
    ],
)
def test_what_makes_no_sense_is_refused(acme, options):
    with pytest.raises(Invalid):
        create(acme, **options)


def test_so_many_actions_are_at_work_at_once_and_no_more(acme):
    for _ in range(10):
        create(acme, filters=HELLO)
    with pytest.raises(Invalid, match="wait for one"):
        create(acme, filters=HELLO)


def test_who_asked_for_what_is_written_down(acme):
    action = create(acme, filters=HELLO, name="spring cleaning")
    entry = AuditEntry.objects.get(action="runs.bulk_cancel")
    assert (entry.target_id, entry.detail["name"]) == (str(action.pk), "spring cleaning")
    assert entry.detail["filters"]["tasks"] == ["hello"]


def test_a_viewer_may_look_and_not_act(acme):
    viewer = factories.user_scope(acme.production, factories.bob(), Role.VIEWER)
    action = create(acme, filters=HELLO)
    assert get_bulk_action(viewer, action.pk).pk == action.pk
    with pytest.raises(Forbidden):
        create_bulk_action(viewer, kind=BulkKind.CANCEL, filters=HELLO, now=AFTER)
    with pytest.raises(Forbidden):
        abort_bulk_action(viewer, bulk_action_id=action.pk, now=AFTER)


def test_charlie_sees_and_touches_nothing(acme, worker, charlie):
    run = trigger(acme.scope)
    action = create(acme, filters=HELLO)
    with pytest.raises(NotFound):
        get_bulk_action(charlie.scope, action.pk)
    with pytest.raises(NotFound):
        abort_bulk_action(charlie.scope, bulk_action_id=action.pk, now=AFTER)
    assert list_bulk_actions(charlie.scope, CursorPage()).items == []
    his = create(charlie, run_ids=[run])
    work(his)
    assert counts(his) == (1, 0, 1)
    assert get(run).status == RunStatus.QUEUED


def test_one_whose_job_was_lost_is_pushed_and_old_ones_are_forgotten(acme):
    action = create(acme, filters=HELLO, now=NOW)
    assert stalled_bulk_actions(later(10)) == []
    assert stalled_bulk_actions(later(31)) == [action.pk]
    old = BulkAction.objects.create(
        id=floor(NOW - timedelta(days=400)), environment=acme.production, kind="cancel",
        status="ABORTED", created_at=NOW, updated_at=NOW, completed_at=NOW,
    )  # fmt: skip
    BulkItem.objects.create(action=old, run_id=new_id())
    assert forget_bulk_actions(NOW) == 1
    assert list(BulkAction.objects.all()) == [action]
