"""Making, changing and switching schedules; what code declares; back-filling."""

from __future__ import annotations

from datetime import timedelta

import pytest

from apps.core import duties
from apps.core.errors import Forbidden, Invalid, NotFound
from apps.core.facts import install
from apps.deployments.operations.versions import promote_version, register_version
from apps.orgs.roles import Role
from apps.schedules.limits import ScheduleLimits
from apps.schedules.models import Declaration, Schedule, Tick
from apps.schedules.operations.backfill import backfill
from apps.schedules.operations.declare import declare, declare_all
from apps.schedules.operations.manage import (
    ScheduleRequest,
    activate_schedule,
    create_schedule,
    deactivate_schedule,
    delete_schedule,
    update_schedule,
)
from apps.schedules.operations.tick import tick_schedules
from apps.schedules.operations.tidying import forget_ticks
from apps.schedules.queries import get_schedule, list_ticks, upcoming
from config.reactions import REACTIONS
from tests import factories
from tests.runs.engine import version
from tests.runs.threads import together
from tests.schedules.scenes import HOUR, NEXT, NOW, runs, schedule, tenant, tick, times

pytestmark = pytest.mark.django_db


def ship(scope, *schedules, task="report", **fields):
    """A promoted version whose task declares these schedules."""
    manifest = {
        "contentHash": "x",
        "tasks": [{"id": task, "schedules": list(schedules), **fields}, {"id": "other"}],
    }
    made = register_version(scope, manifest=manifest, now=NOW)
    promote_version(scope, number=made.number, now=NOW)
    declare(scope.environment_id, now=NOW)
    return made


def declared():
    return {row.deduplication_key: row for row in Schedule.objects.filter(kind="declarative")}


def test_the_same_key_in_two_environments_is_two_schedules():
    made = tenant()
    staging = factories.key_scope(made.staging)
    version(made.staging, "report")
    assert schedule(made.scope).pk != schedule(staging).pk


@pytest.mark.django_db(transaction=True)
def test_of_two_who_make_one_schedule_at_once_both_get_it():
    scope = tenant().scope
    first, second = together(*[lambda: schedule(scope)] * 2)
    assert first.pk == second.pk
    assert Schedule.objects.count() == 1


def test_a_change_of_the_cron_counts_from_now_and_other_changes_move_nothing():
    scope = tenant().scope
    made = schedule(scope)
    request = ScheduleRequest(task="report", cron="0 * * * *", external_id="x")
    changed = update_schedule(
        scope, schedule_id=made.pk, request=request, now=NOW + timedelta(minutes=10)
    )
    assert (changed.next_at, changed.external_id) == (NEXT, "x")
    faster = ScheduleRequest(task="report", cron="*/5 * * * *")
    changed = update_schedule(scope, schedule_id=made.pk, request=faster, now=NEXT)
    assert changed.next_at == NEXT + timedelta(minutes=5)


def test_what_passed_while_it_was_inactive_is_not_made_up_for():
    scope = tenant().scope
    made = schedule(scope, missed="all", missed_limit=50)
    deactivate_schedule(scope, schedule_id=made.pk, now=NOW)
    activate_schedule(scope, schedule_id=made.pk, now=NEXT + 5 * HOUR)
    tick(NEXT + 5 * HOUR)
    assert runs() == []
    tick(NEXT + 6 * HOUR)
    assert times() == ["19:00"]


def test_a_time_that_has_ticked_does_not_come_again_after_a_change():
    scope = tenant().scope
    made = schedule(scope)
    tick(NEXT)
    # a clock that is behind the engine's
    request = ScheduleRequest(task="report", cron="0,30 * * * *")
    changed = update_schedule(
        scope, schedule_id=made.pk, request=request, now=NEXT - timedelta(seconds=2)
    )
    assert changed.next_at == NEXT + HOUR / 2


def test_so_many_schedules_and_no_more(settings):
    settings.SCHEDULES = ScheduleLimits(per_environment=1)
    scope = tenant().scope
    schedule(scope)
    with pytest.raises(Invalid, match="may have 1 schedules"):
        schedule(scope, "another")


def test_a_viewer_may_look_and_not_change():
    made = tenant()
    one = schedule(made.scope)
    viewer = factories.user_scope(made.production, factories.bob(), Role.VIEWER)
    assert get_schedule(viewer, one.pk).pk == one.pk
    for act in (
        lambda: schedule(viewer, "new"),
        lambda: deactivate_schedule(viewer, schedule_id=one.pk, now=NOW),
        lambda: delete_schedule(viewer, schedule_id=one.pk, now=NOW),
        lambda: backfill(viewer, schedule_id=one.pk, since=NOW, until=NOW, now=NOW),
    ):
        with pytest.raises(Forbidden):
            act()


def test_charlie_finds_nothing():
    one = schedule(tenant().scope)
    charlie = factories.charlies_scope()
    for act in (
        lambda: get_schedule(charlie, one.pk),
        lambda: list_ticks(charlie, one.pk),
        lambda: activate_schedule(charlie, schedule_id=one.pk, now=NOW),
        lambda: backfill(charlie, schedule_id=one.pk, since=NOW, until=NOW, now=NOW),
    ):
        with pytest.raises(NotFound):
            act()
    until = NOW + timedelta(days=9)
    assert upcoming(charlie, since=NOW, until=until, most=9) == []
    assert upcoming(charlie, since=NOW, until=until, most=9, schedule_id=one.pk) == []


# -- Declared in code --------------------------------------------------------------------------


def test_a_promoted_version_brings_its_schedules():
    scope = factories.acme().scope
    ship(
        scope,
        {"cron": "0 9 * * *", "timezone": "Europe/Paris", "overlap": "skip", "name": "daily"},
        {"every": 60, "name": "often"},
    )
    daily, often = declared()["declared/report/daily"], declared()["declared/report/often"]
    assert (daily.cron, daily.timezone, daily.overlap, daily.task) == (
        "0 9 * * *", "Europe/Paris", "skip", "report",
    )  # fmt: skip
    assert (often.interval_seconds, often.next_at) == (60, NOW + timedelta(seconds=60))


def test_a_later_version_changes_keeps_and_removes_them():
    scope = factories.acme().scope
    ship(scope, {"every": 60, "name": "a"}, {"every": 60, "name": "b"}, {"every": 60, "name": "c"})
    before = declared()
    deactivate_schedule(scope, schedule_id=before["declared/report/a"].pk, now=NOW)
    ship(scope, {"every": 60, "name": "a"}, {"every": 30, "name": "b"})
    after = declared()
    assert set(after) == {"declared/report/a", "declared/report/b"}
    assert {key: row.pk for key, row in after.items()} == {key: before[key].pk for key in after}
    assert not after["declared/report/a"].is_active
    assert after["declared/report/b"].interval_seconds == 30


def test_a_rollback_brings_back_what_the_older_version_declared():
    scope = factories.acme().scope
    older = ship(scope, {"every": 60})
    ship(scope)
    assert declared() == {}
    promote_version(scope, number=older.number, now=NOW)
    declare(scope.environment_id, now=NOW)
    assert set(declared()) == {"declared/report"}


def test_a_schedule_may_be_for_some_environments_only():
    made = factories.acme()
    staging = factories.key_scope(made.staging)
    for scope in (made.scope, staging):
        ship(scope, {"every": 60, "environments": ["prod"]})
    assert [row.environment_id for row in declared().values()] == [made.production.id]


def test_the_public_clients_form_of_one_schedule():
    scope = factories.acme().scope
    ship(scope, schedule={"cron": "0 0 * * *", "timezone": "UTC", "environments": ["PRODUCTION"]})
    # `schedules` comes first where both are there
    assert declared() == {}
    manifest = {"tasks": [{"id": "report", "schedule": {"cron": "0 0 * * *", "window": "30m"}}]}
    made = register_version(scope, manifest=manifest, now=NOW)
    promote_version(scope, number=made.number, now=NOW)
    declare(scope.environment_id, now=NOW)
    assert declared()["declared/report"].window == "30m"


@pytest.mark.parametrize(
    "wrong",
    [
        {"cron": "soon"},
        {"cron": "0 0 * * *", "every": 60},
        {},
        {"every": 60, "timezone": "Moon/Base"},
        {"every": 60, "window": "x"},
        {"every": 60, "environments": ["moon"]},
        {"every": 60, "overlap": "sometimes"},
    ],
)
def test_a_manifest_with_a_wrong_schedule_is_refused_before_it_is_kept(wrong):
    scope = factories.acme().scope
    with pytest.raises(Invalid, match="report"):
        register_version(
            scope, manifest={"tasks": [{"id": "report", "schedules": [wrong]}]}, now=NOW
        )


def test_two_schedules_of_one_name_are_refused():
    with pytest.raises(Invalid, match="name each"):
        ship(factories.acme().scope, {"every": 60}, {"every": 30})


def test_what_is_declared_is_changed_in_code_only():
    scope = factories.acme().scope
    ship(scope, {"every": 60})
    [one] = declared().values()
    request = ScheduleRequest(task="report", cron="* * * * *")
    with pytest.raises(Invalid, match="declared in code"):
        update_schedule(scope, schedule_id=one.pk, request=request, now=NOW)
    with pytest.raises(Invalid, match="declared in code"):
        delete_schedule(scope, schedule_id=one.pk, now=NOW)
    with pytest.raises(Invalid, match="in code"):
        create_schedule(scope, request=request, deduplication_key="declared/report", now=NOW)


def test_a_lost_word_of_a_promotion_is_found_by_the_duty():
    made = factories.acme()
    manifest = {"tasks": [{"id": "report", "schedules": [{"every": 60}]}]}
    number = register_version(made.scope, manifest=manifest, now=NOW).number
    install({})
    try:
        promote_version(made.scope, number=number, now=NOW)
    finally:
        install(REACTIONS)
    assert declared() == {}
    assert declare_all(NOW) == 1
    assert len(declared()) == 1
    assert declare_all(NOW) == 0
    assert Declaration.objects.count() == 1


def test_the_engine_has_these_duties():
    assert tick_schedules in duties.fast()
    assert {declare_all, forget_ticks} <= set(duties.slow())


# -- Back-filling and forgetting ---------------------------------------------------------------


def test_backfilling_makes_up_for_what_was_missed_and_leaves_the_future_alone():
    scope = tenant().scope
    made = schedule(scope, missed="skip")
    tick(NEXT + 3 * HOUR)
    assert times() == ["16:00"]
    later = NEXT + 3 * HOUR + timedelta(minutes=1)
    done = backfill(scope, schedule_id=made.pk, since=NEXT - HOUR, until=NEXT + 9 * HOUR, now=later)
    assert [f"{one.at:%H:%M}" for one in done] == ["12:00", "13:00", "14:00", "15:00"]
    assert Tick.objects.filter(outcome="triggered").count() == 5
    tick(NEXT + 4 * HOUR)
    assert Tick.objects.filter(outcome="triggered").count() == 6


def test_old_ticks_are_forgotten_and_their_runs_stay():
    schedule(tenant().scope)
    tick(NEXT)
    assert forget_ticks(NEXT + timedelta(days=29)) == 0
    assert forget_ticks(NEXT + timedelta(days=31)) == 1
    assert (Tick.objects.count(), len(runs())) == (0, 1)


def test_what_comes_is_told_for_each_time_zone_and_window_in_order():
    scope = tenant().scope
    schedule(scope, "a", cron="0 9 * * *", timezone="Asia/Kolkata")
    schedule(scope, "b", cron="0 3 * * *", window="10m")
    stopped = schedule(scope, "c", cron="* * * * *")
    deactivate_schedule(scope, schedule_id=stopped.pk, now=NOW)
    found = upcoming(scope, since=NOW, until=NOW + timedelta(days=2), most=10)
    assert [f"{time.at:%d %H:%M}" for time in found] == [
        "25 03:00", "25 03:30", "26 03:00", "26 03:30",
    ]  # fmt: skip
    shifted = [time for time in found if time.schedule.deduplication_key == "b"]
    assert all(timedelta(0) < time.due_at - time.at < timedelta(minutes=10) for time in shifted)
    assert len({time.due_at - time.at for time in shifted}) == 1
