"""The tick: what starts when, what is made up for, and what waits for the run before it."""

from __future__ import annotations

import json
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import transaction

from apps.deployments.models import Promotion, WorkerSession
from apps.runs.models import Run
from apps.runs.operations.trigger import TriggerRequest, trigger_run
from apps.runs.queries import invariant_violations as run_violations
from apps.runs.states import RunStatus
from apps.schedules.facts import TickFailed
from apps.schedules.models import Schedule, Tick
from apps.schedules.operations import tick as ticking
from apps.schedules.operations.manage import deactivate_schedule
from apps.schedules.operations.tick import look, release_held, tick_schedules
from apps.schedules.queries import invariant_violations
from tests.factories import key_scope
from tests.runs.engine import Worker, failed, started, version
from tests.runs.threads import holding, together
from tests.schedules.scenes import (
    HOUR,
    NEXT,
    NOW,
    finish,
    outcomes,
    payloads,
    runs,
    schedule,
    tenant,
    tick,
    times,
)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def sound():
    yield
    assert [*invariant_violations(now=NOW), *run_violations(now=NOW)] == []


def test_nothing_starts_before_its_time():
    schedule(tenant().scope)
    assert tick(NEXT - timedelta(seconds=1)) == 0
    assert runs() == []


def test_a_due_schedule_starts_one_run_and_moves_on():
    made = schedule(tenant().scope, external_id="user_1", timezone="Europe/Paris")
    assert tick(NEXT) == 1
    assert tick(NEXT) == 0

    [run] = runs()
    assert (run.task, run.source, run.schedule_id) == ("report", "schedule", made.pk)
    body = json.loads(run.payload)
    assert body["json"] == {
        "scheduleId": str(made),
        "type": "IMPERATIVE",
        "timestamp": "2026-11-24T13:00:00.000Z",
        "timezone": "Europe/Paris",
        "externalId": "user_1",
        "upcoming": [f"2026-11-24T{hour}:00:00.000Z" for hour in range(14, 19)],
    }
    assert set(body["meta"]["values"]) == {"timestamp", *(f"upcoming.{n}" for n in range(5))}
    made.refresh_from_db()
    assert (made.next_at, made.latest_at, made.latest_run_id) == (NEXT + HOUR, NEXT, run.pk)
    assert outcomes() == [("13:00", "triggered")]


def test_the_next_run_is_told_when_the_last_one_was():
    schedule(tenant().scope)
    tick(NEXT)
    tick(NEXT + HOUR)
    assert payloads()[1]["lastTimestamp"] == "2026-11-24T13:00:00.000Z"


def test_an_interval_and_a_single_time():
    scope = tenant().scope
    every = schedule(scope, "every", interval_seconds=90)
    once = schedule(scope, "once", once_at=NOW + timedelta(seconds=100))
    tick(NOW + timedelta(seconds=90))
    tick(NOW + timedelta(seconds=100))
    every.refresh_from_db()
    once.refresh_from_db()
    assert [run.schedule_id for run in runs()] == [every.pk, once.pk]
    assert every.next_at == NOW + timedelta(seconds=180)
    assert (once.next_at, once.due_at) == (None, None)


def test_many_schedules_tick_in_one_bite_each_in_its_environment():
    alices, now = tenant(), NEXT
    version(alices.staging, "report")
    for n in range(20):
        schedule(alices.scope, f"s{n}")
        schedule(key_scope(alices.staging), f"s{n}")
    assert tick(now) == 40
    assert len(runs()) == 40
    assert {run.environment_id for run in runs()} == {alices.production.id, alices.staging.id}


def test_more_than_a_bite_is_taken_in_bites(monkeypatch):
    monkeypatch.setattr(ticking, "BITE", 3)
    scope = tenant().scope
    for n in range(7):
        schedule(scope, f"s{n}")
    assert [tick(NEXT) for _ in range(4)] == [3, 3, 1, 0]
    assert len(runs()) == 7


# -- What is late ------------------------------------------------------------------------------


def test_a_time_that_is_late_within_the_grace_simply_ticks():
    schedule(tenant().scope, interval_seconds=10, missed="skip")
    tick(NOW + timedelta(seconds=35))
    assert outcomes() == [("12:30", "triggered")] * 3


@pytest.mark.parametrize(
    ("options", "expected", "given_up"),
    [
        ({"missed": "skip"}, ["18:00"], [("13:00", "17:00")]),
        ({"missed": "one"}, ["17:00", "18:00"], [("13:00", "16:00")]),
        (
            {"missed": "all", "missed_limit": 3},
            ["15:00", "16:00", "17:00", "18:00"],
            [("13:00", "14:00")],
        ),
        ({"missed": "all", "missed_limit": 50}, [f"{hour}:00" for hour in range(13, 19)], []),
    ],
)
def test_what_was_missed_while_no_engine_ran(options, expected, given_up):
    made = schedule(tenant().scope, **options)
    tick(NEXT + 5 * HOUR)
    assert times() == expected
    missed = Tick.objects.filter(outcome="missed")
    assert [(f"{tick.at:%H:%M}", f"{tick.until:%H:%M}") for tick in missed] == given_up
    made.refresh_from_db()
    assert made.next_at == NEXT + 6 * HOUR


def test_a_long_outage_of_a_fast_schedule_costs_little():
    made = schedule(tenant().scope, interval_seconds=1)
    later = NOW + timedelta(days=90)
    assert tick(later) == 1
    made.refresh_from_db()
    while made.due_at <= later:
        assert tick(later) == 1
        made.refresh_from_db()
    # the latest that was missed, and those within the grace
    assert len(runs()) == 62


# -- Overlap -----------------------------------------------------------------------------------


def test_runs_may_overlap_unless_something_else_is_said():
    schedule(tenant().scope)
    tick(NEXT)
    tick(NEXT + HOUR)
    assert len(runs()) == 2


def test_skip_starts_nothing_while_the_latest_run_is_open():
    schedule(tenant().scope, overlap="skip")
    tick(NEXT)
    tick(NEXT + HOUR)
    finish(runs()[0], NEXT + HOUR)
    tick(NEXT + 2 * HOUR)
    assert outcomes() == [("13:00", "triggered"), ("14:00", "skipped"), ("15:00", "triggered")]
    assert Tick.objects.get(outcome="skipped").reason == "the latest run has not ended"


def test_queue_keeps_one_tick_until_the_latest_run_has_ended():
    made = schedule(tenant().scope, overlap="queue")
    for hours in range(3):
        tick(NEXT + hours * HOUR)
    assert times() == ["13:00"]
    assert release_held(NEXT + 2 * HOUR) == 0
    finish(runs()[0], NEXT + 2 * HOUR)
    assert release_held(NEXT + 2 * HOUR) == 1
    assert times() == ["13:00", "14:00"]
    made.refresh_from_db()
    assert (made.held_at, made.next_at) == (None, NEXT + 3 * HOUR)
    assert outcomes() == [("13:00", "triggered"), ("14:00", "triggered"), ("15:00", "skipped")]


def test_a_look_tells_of_due_schedules_and_of_those_whose_run_has_ended():
    schedule(tenant().scope, overlap="queue")
    assert look(NEXT - timedelta(seconds=1)) == {"tick_schedules": False, "release_held": False}
    assert look(NEXT) == {"tick_schedules": True, "release_held": False}
    tick(NEXT)
    tick(NEXT + HOUR)
    assert look(NEXT + HOUR) == {"tick_schedules": False, "release_held": False}
    finish(runs()[0], NEXT + HOUR)
    assert look(NEXT + HOUR) == {"tick_schedules": False, "release_held": True}


def test_cancel_stops_the_older_run():
    schedule(tenant().scope, overlap="cancel")
    tick(NEXT)
    assert tick(NEXT + HOUR) == 1
    older, newer = runs()
    assert (older.status, newer.status) == (RunStatus.CANCELED, RunStatus.QUEUED)
    assert older.status_reason == "the next time of its schedule has come"
    tick(NEXT + HOUR)
    assert len(runs()) == 2


def test_cancel_waits_until_the_worker_has_stopped_an_executing_run():
    made = tenant()
    schedule(made.scope, overlap="cancel")
    tick(NEXT)
    worker = Worker(made.production.promotion.version)
    [work] = worker.claim(now=NEXT)
    worker.say(started(work), now=NEXT)
    tick(NEXT + HOUR)
    [older] = runs()
    assert (older.status, older.cancel_requested_at) == (RunStatus.EXECUTING, NEXT + HOUR)
    assert release_held(NEXT + HOUR) == 0

    tick(NEXT + 2 * HOUR)  # the next time takes the place of the one that waits
    worker.say(failed(work, outcome="canceled"), now=NEXT + 2 * HOUR)
    assert release_held(NEXT + 2 * HOUR) == 1
    older, newer = runs()
    assert (older.status, newer.status) == (RunStatus.CANCELED, RunStatus.QUEUED)
    assert outcomes() == [("13:00", "triggered"), ("14:00", "skipped"), ("15:00", "triggered")]


# -- What stands in the way --------------------------------------------------------------------


def test_a_task_that_the_promoted_version_does_not_have_is_skipped():
    made = tenant()
    schedule(made.scope)
    version(made.production, "other", number="20261124.2")
    tick(NEXT)
    assert outcomes() == [("13:00", "skipped")]
    assert Tick.objects.get().reason == "the promoted version does not have its task"


def test_development_is_skipped_while_nobody_works_there():
    made = tenant()
    built = version(made.development, "report")
    schedule(key_scope(made.development))
    tick(NEXT)
    WorkerSession.objects.create(
        id=uuid4(), environment=made.development, version=built, capacity=1, coordinator=uuid4(),
        connected_at=NOW, seen_at=NOW,
    )  # fmt: skip
    tick(NEXT + HOUR)
    assert outcomes() == [("13:00", "skipped"), ("14:00", "triggered")]


def test_an_archived_environment_never_ticks_again():
    made = tenant()
    created = schedule(made.scope)
    made.production.archived_at = NOW
    made.production.save(update_fields=["archived_at"])
    tick(NEXT)
    created.refresh_from_db()
    assert (runs(), created.due_at) == ([], None)


def test_one_that_is_refused_does_not_hold_up_the_others(captured_facts):
    made = tenant("strict", "report")
    schedule(made.scope, "a", task="strict")
    schedule(made.scope, "b")
    version(made.production, "strict", "report", number="20261124.2", payload_schema=None)
    made.production.promotion.refresh_from_db()
    schema = {"type": "object", "required": ["city"]}
    made.production.promotion.version.tasks.filter(slug="strict").update(payload_schema=schema)
    tick(NEXT)
    assert sorted(Tick.objects.values_list("outcome", flat=True)) == ["failed", "triggered"]
    [fact] = captured_facts(TickFailed)
    assert fact.task == "strict"
    assert "city" in fact.reason


def test_an_inactive_schedule_does_not_tick():
    scope = tenant().scope
    made = schedule(scope)
    deactivate_schedule(scope, schedule_id=made.pk, now=NOW)
    assert tick(NEXT) == 0


@pytest.mark.parametrize("late", [0, 30, 3_600])
def test_a_time_that_was_promised_ticks_though_its_zone_has_changed_since(late):
    made = schedule(tenant().scope, timezone="Asia/Kolkata")
    # a full hour there is half past here; 13:00 is what an older table of zones said
    Schedule.objects.filter(pk=made.pk).update(next_at=NEXT, due_at=NEXT)
    tick(NEXT + timedelta(seconds=late))
    made.refresh_from_db()
    assert times()[-1] == ("13:30" if late == 3_600 else "13:00")
    assert made.next_at == NEXT + HOUR / 2 + timedelta(seconds=late // 3_600 * 3_600)


def test_one_that_cannot_be_planned_does_not_hold_up_the_others(caplog):
    scope = tenant().scope
    broken, fine = schedule(scope, "a"), schedule(scope, "b")
    Schedule.objects.filter(pk=broken.pk).update(timezone="Moon/Base")
    assert tick(NEXT) == 2
    assert [run.schedule_id for run in runs()] == [fine.pk]
    broken.refresh_from_db()
    assert (broken.next_at, broken.due_at) == (NEXT, NEXT + timedelta(minutes=5))
    assert "cannot be planned" in caplog.text


# -- Exactly once ------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_several_engines_start_each_run_once(monkeypatch):
    monkeypatch.setattr(ticking, "BITE", 5)
    scope = tenant().scope
    for n in range(40):
        schedule(scope, f"s{n}", overlap=["allow", "skip", "queue", "cancel"][n % 4])

    def engine() -> int:
        count = 0
        while bite := tick_schedules(NEXT):
            count += bite
        return count

    together(*[engine] * 4)
    assert Run.objects.count() == 40
    assert Tick.objects.count() == 40

    def second() -> int:
        return tick_schedules(NEXT + HOUR)

    together(*[second] * 4)
    while tick_schedules(NEXT + HOUR):
        pass
    assert Tick.objects.filter(at=NEXT + HOUR).values("schedule_id").distinct().count() == 30


@pytest.mark.django_db(transaction=True)
def test_what_one_engine_holds_another_leaves_alone():
    scope = tenant().scope
    schedule(scope)
    with holding(lambda: tick_schedules(NEXT)) as held:
        assert tick_schedules(NEXT) == 0
    assert held.result() == 1  # its transaction has ended
    assert len(runs()) == 1


def test_an_engine_that_dies_before_its_commit_has_done_nothing():
    made = schedule(tenant().scope)
    with transaction.atomic():
        tick(NEXT)
        transaction.set_rollback(True)
    assert (runs(), outcomes()) == ([], [])
    tick(NEXT + timedelta(seconds=5))
    assert times() == ["13:00"]
    made.refresh_from_db()
    assert made.next_at == NEXT + HOUR


def test_a_time_that_has_its_tick_gets_no_second_run_whatever_the_clocks_did():
    made = schedule(tenant().scope)
    tick(NEXT)
    Schedule.objects.filter(pk=made.pk).update(next_at=NEXT, due_at=NEXT)
    tick(NEXT)
    assert len(runs()) == 1
    made.refresh_from_db()
    assert made.next_at == NEXT + HOUR


def test_a_window_delays_and_the_payload_keeps_the_nominal_time():
    made = schedule(tenant().scope, window="50%")
    assert NEXT <= made.due_at < NEXT + HOUR / 2
    assert made.due_at != NEXT
    assert tick(made.due_at - timedelta(milliseconds=1)) == 0
    assert tick(made.due_at) == 1
    assert times() == ["13:00"]


def test_runs_of_a_schedule_start_on_the_promoted_version():
    made = tenant()
    schedule(made.scope)
    version(made.production, "report", number="20261124.2")
    tick(NEXT)
    trigger_run(made.scope, request=TriggerRequest(task="report"), now=NEXT)
    worker = Worker(Promotion.objects.get(environment=made.production).version)
    assert len(worker.claim(now=NEXT)) == 2
