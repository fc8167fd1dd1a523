"""What the runs of a schedule get besides its times: a payload, and a trigger's options."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from apps.core.errors import Invalid
from apps.deployments.operations.versions import promote_version, register_version
from apps.runs.models import Run, Timer
from apps.runs.states import TimerKind
from apps.schedules.models import Schedule, Tick
from apps.schedules.operations.backfill import backfill
from apps.schedules.operations.declare import declare
from apps.schedules.operations.manage import ScheduleRequest, update_schedule
from apps.schedules.operations.tick import release_held
from apps.schedules.queries import problem_of
from holdfast import packets
from holdfast.schedules import schedule as declaration
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
)

pytestmark = pytest.mark.django_db

OPTIONS = {
    "queue": "reports",
    "concurrencyKey": "eu",
    "ttl": 600,
    "tags": ["eu", "daily"],
    "metadata": {"by": {"whom": None}},
    "machine": "small-2x",
    "maxAttempts": 2,
    "maxDuration": 90,
    "priority": 30.5,
}
JSON = {"payload": '{"region":"eu"}', "payload_type": packets.JSON}
# takes a tick whose payload, if there is one, has a region
SCHEMA = {
    "type": "object",
    "properties": {
        "timestamp": {"type": "string"},
        "payload": {"type": "object", "required": ["region"]},
    },
    "required": ["timestamp"],
}


def ship(scope, *schedules, schema=None, task="report"):
    """Promote a version, with what its code declares."""
    tasks = [{"id": task, "schedules": list(schedules), "payloadSchema": schema}]
    made = register_version(scope, manifest={"contentHash": "x", "tasks": tasks}, now=NOW)
    promote_version(scope, number=made.number, now=NOW)
    declare(scope.environment_id, now=NOW)


def carried(value):
    """A packet as the SDK makes it."""
    packet = packets.encode(value)
    return {"payload": packet.data, "payload_type": packet.data_type}


def told(run: Run):
    """The payload that the task gets."""
    return packets.decode(run.payload, run.payload_type)


def test_a_payload_lies_beside_what_the_tick_tells():
    schedule(tenant().scope, **JSON)
    tick(NEXT)
    [run] = runs()
    assert told(run)["payload"] == {"region": "eu"}
    assert told(run)["timestamp"] == NEXT


def test_a_schedule_that_carries_nothing_tells_what_it_always_told():
    schedule(tenant().scope)
    tick(NEXT)
    assert "payload" not in payloads()[0]


@pytest.mark.parametrize(
    "value",
    [
        {"since": datetime(2026, 1, 1, tzinfo=UTC), "ids": {1, 2}, "a.b": {"c\\d": {3}}},
        datetime(2026, 1, 1, tzinfo=UTC),
        [2**60, {1: "one"}],
        "only text",
        0,
    ],
)
def test_a_payload_arrives_as_what_it_was(value):
    schedule(tenant().scope, **carried(value))
    tick(NEXT)
    [run] = runs()
    assert told(run)["payload"] == value
    assert told(run)["timestamp"] == NEXT


def test_null_is_a_payload():
    schedule(tenant().scope, payload="null")
    tick(NEXT)
    assert payloads()[0]["payload"] is None


def test_options_are_those_of_a_trigger():
    schedule(tenant().scope, options=OPTIONS)
    tick(NEXT)
    [run] = runs()
    assert (run.queue, run.concurrency_key, run.machine) == ("reports", "eu", "small-2x")
    assert (run.max_attempts, run.max_duration_seconds, run.priority_seconds) == (2, 90, 30.5)
    assert (run.tags, run.metadata) == (["eu", "daily"], {"by": {"whom": None}})
    assert Timer.objects.get(kind=TimerKind.TTL).due_at == NEXT + timedelta(minutes=10)


def test_times_that_were_missed_held_or_asked_for_get_the_same():
    scope = tenant().scope
    made = schedule(
        scope, **JSON, options={"tags": ["x"]}, overlap="queue", missed="all", missed_limit=2
    )
    late = NEXT + 5 * HOUR + timedelta(minutes=30)
    tick(late)
    finish(runs()[0], late)
    assert release_held(late) == 1
    backfill(scope, schedule_id=made.pk, since=NEXT, until=NEXT + 2 * HOUR, now=late)
    assert len(runs()) == 5
    assert {tuple(run.tags) for run in runs()} == {("x",)}
    assert [payload["payload"] for payload in payloads()] == [{"region": "eu"}] * 5


def test_a_change_of_what_it_carries_moves_no_time():
    scope = tenant().scope
    made = schedule(scope, **JSON, options=OPTIONS)
    bare = ScheduleRequest(task="report", cron="0 * * * *")
    changed = update_schedule(
        scope, schedule_id=made.pk, request=bare, now=NOW + timedelta(minutes=10)
    )
    changed.refresh_from_db()
    assert (changed.payload, changed.payload_type, changed.options) == (None, None, None)
    assert changed.next_at == NEXT


# -- What is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"options": {"machine": "huge"}}, "machine"),
        ({"options": {"tags": [""]}}, "tags"),
        ({"options": {"maxAttempts": 10_000}}, "maxAttempts"),
        ({"options": {"queue": "q" * 300}}, "queue"),
        ({"options": {"ttl": -1}}, "ttl"),
        ({"payload": "{", "payload_type": packets.JSON}, "payload"),
        ({"payload": "x", "payload_type": packets.STORE}, "payload"),
        ({"payload": '{"json":1,"meta":{"values":{"a":["Date"]}}}',
          "payload_type": packets.SUPERJSON}, "payload"),
        ({"payload": '"' + "x" * 200_000 + '"'}, "payload"),
        ({"options": {"metadata": {"long": "x" * 200_000}}}, "payload"),
    ],
)  # fmt: skip
def test_what_a_trigger_would_refuse_is_refused_when_it_is_saved(wrong, field):
    scope = tenant().scope
    with pytest.raises(Invalid) as refused:
        schedule(scope, **wrong)
    assert field in refused.value.detail
    assert not Schedule.objects.exists()


def test_a_payload_that_does_not_fit_the_task_is_refused_when_it_is_saved():
    scope = tenant().scope
    ship(scope, schema=SCHEMA)
    with pytest.raises(Invalid, match=r"\$\.payload: 'region' is a required property"):
        schedule(scope, payload="{}")
    kept = schedule(scope, **JSON)
    bad = ScheduleRequest(task="report", cron="@daily", payload="{}")
    with pytest.raises(Invalid):
        update_schedule(scope, schedule_id=kept.pk, request=bad, now=NOW)


def test_a_task_that_takes_no_tick_cannot_be_scheduled():
    scope = tenant().scope
    ship(scope, schema={"type": "object", "required": ["order"]})
    with pytest.raises(Invalid, match="the payload does not fit the task"):
        schedule(scope)


def test_a_task_that_changes_is_told_of_at_each_time_and_holds_up_nothing():
    scope = tenant("report", "other").scope
    stale, sound = schedule(scope, payload="{}"), schedule(scope, "other", task="other")
    tasks = [{"id": "report", "payloadSchema": SCHEMA}, {"id": "other"}]
    made = register_version(scope, manifest={"contentHash": "y", "tasks": tasks}, now=NOW)
    promote_version(scope, number=made.number, now=NOW)
    stale.refresh_from_db()
    assert "'region' is a required property" in problem_of(scope, stale, now=NOW)
    assert problem_of(scope, sound, now=NOW) is None

    assert (tick(NEXT), tick(NEXT)) == (2, 0)
    assert [run.task for run in runs()] == ["other"]
    failed = Tick.objects.get(schedule_id=stale.pk)
    assert failed.outcome == "failed"
    assert "'region' is a required property" in failed.reason
    stale.refresh_from_db()
    assert (stale.is_active, stale.next_at) == (True, NEXT + HOUR)

    ship(scope)
    assert problem_of(scope, stale, now=NEXT) is None
    tick(NEXT + HOUR)
    assert Tick.objects.get(schedule_id=stale.pk, at=NEXT + HOUR).outcome == "triggered"


def test_what_cannot_be_read_is_told_of_and_holds_up_nothing():
    scope = tenant().scope
    broken, sound = schedule(scope, "broken", **JSON), schedule(scope, "sound")
    Schedule.objects.filter(pk=broken.pk).update(payload="{", options={"tags": 5})
    assert tick(NEXT) == 2
    assert [run.schedule_id for run in runs()] == [sound.pk]
    assert "cannot be read" in Tick.objects.get(schedule_id=broken.pk).reason


# -- In code -----------------------------------------------------------------------------------


def test_code_declares_what_its_runs_get():
    scope = tenant().scope
    wire = declaration(
        "0 * * * *", payload={"since": datetime(2026, 1, 1, tzinfo=UTC)},
        options={"queue": "reports", "ttl": "10m", "tags": "eu", "max_duration": 90},
    ).to_wire()  # fmt: skip
    ship(scope, json.loads(json.dumps(wire)))
    tick(NEXT)
    [run] = runs()
    assert told(run)["payload"] == {"since": datetime(2026, 1, 1, tzinfo=UTC)}
    assert (run.queue, run.tags, run.max_duration_seconds) == ("reports", ["eu"], 90)
    assert run.ttl_seconds == 600


def test_a_promotion_that_says_the_same_changes_nothing():
    scope = tenant().scope
    wire = declaration("0 * * * *", payload={"a": 1}, options={"priority": 5}).to_wire()
    ship(scope, wire)
    before = Schedule.objects.values().get()
    ship(scope, wire)
    assert Schedule.objects.values().get() == before
    ship(scope, declaration("0 * * * *").to_wire())
    assert (Schedule.objects.get().payload, Schedule.objects.get().options) == (None, None)


def test_a_declared_schedule_that_would_be_refused_is_made_and_tells_why():
    scope = tenant().scope
    ship(scope, declaration("0 * * * *", payload={}).to_wire(), schema=SCHEMA)
    assert "'region' is a required" in problem_of(scope, Schedule.objects.get(), now=NOW)
    tick(NEXT)
    assert outcomes() == [("13:00", "failed")]


# -- A server of the release before ------------------------------------------------------------


def test_a_server_that_does_not_know_the_columns_makes_schedules_all_the_same():
    made = schedule(tenant().scope)
    known = [f.column for f in Schedule._meta.concrete_fields]
    older = [c for c in known if c not in {"id", "payload", "payload_type", "options"}]
    older = [f'"{column}"' for column in older]
    changed = ["'another'" if column == '"deduplication_key"' else column for column in older]
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO schedules_schedule (id, {', '.join(older)}) "  # noqa: S608
            f"SELECT gen_random_uuid(), {', '.join(changed)} FROM schedules_schedule"
        )
    assert tick(NEXT) == 2
    assert {run.schedule_id for run in runs()} > {made.pk}
