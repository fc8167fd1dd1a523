"""Schedules over the API: the contract's forms, and what Holdfast adds."""

from __future__ import annotations

from datetime import timedelta

import pytest

from apps.core import clock
from apps.core.ids import new_id, public_id
from apps.orgs.models import AuditEntry
from apps.schedules.models import Schedule
from apps.schedules.operations.declare import declare
from apps.schedules.operations.tick import tick_schedules
from tests.api import scenes

pytestmark = pytest.mark.django_db
BODY = {"task": "resize", "cron": "0 9 * * mon-fri", "deduplicationKey": "daily"}
PATH = "/api/v1/schedules"


@pytest.fixture(autouse=True)
def version(acme):
    scenes.version(acme.scope)


def made(api, **more):
    return api.post(PATH, BODY | more).ok()


def test_a_schedule_as_the_contract_has_it(api, acme):
    shown = made(api, externalId="user_1", timezone="Europe/London", window="30m")
    assert shown["id"].startswith("sched_")
    assert shown["generator"] == {
        "type": "CRON",
        "expression": "0 9 * * MON-FRI",
        "description": "At 09:00, Monday through Friday",
    }
    assert shown["environments"] == [
        {"id": public_id("env", acme.production.id), "type": "PRODUCTION"}
    ]
    expected = {
        "type": "IMPERATIVE", "task": "resize", "active": True, "deduplicationKey": "daily",
        "externalId": "user_1", "timezone": "Europe/London", "window": "30m", "jitter": 0,
        "overlap": "allow", "missed": "one", "missedLimit": 1,
    }  # fmt: skip
    assert expected.items() <= shown.items()
    assert shown["nextRun"] <= shown["nextRunEffectiveAt"]
    assert api.get(f"{PATH}/{shown['id']}").ok() == shown


def test_the_same_key_changes_the_same_schedule(api):
    first = made(api)
    second = made(api, cron="@hourly")
    assert first["id"] == second["id"]
    assert second["generator"]["expression"] == "0 * * * *"
    assert Schedule.objects.count() == 1


def test_a_schedule_is_changed_switched_and_removed(api):
    path = f"{PATH}/{made(api)['id']}"
    changed = api.put(path, {"task": "resize", "cron": "*/5 * * * *"}).ok()
    assert changed["generator"]["description"] == "Every 5 minutes"
    stopped = api.post(f"{path}/deactivate").ok()
    assert (stopped["active"], stopped["nextRun"]) == (False, None)
    assert api.post(f"{path}/activate").ok()["nextRun"] is not None
    assert api.delete(path).ok() == {"id": changed["id"]}
    assert api.get(path).status == 404
    actions = AuditEntry.objects.filter(target_type="schedule").order_by("id")
    assert list(actions.values_list("action", flat=True)) == [
        "schedule.created", "schedule.updated", "schedule.deactivated", "schedule.activated",
        "schedule.deleted",
    ]  # fmt: skip


def test_intervals_and_single_times(api):
    body = {"task": "resize"}
    every = api.post(PATH, body | {"every": 90, "deduplicationKey": "a"}).ok()
    assert (every["every"], every["generator"]["expression"]) == (90, "@every 90s")
    at = (clock.now() + timedelta(days=400)).replace(microsecond=0)
    said = f"{at:%Y-%m-%dT%H:%M:%SZ}"
    once = api.post(PATH, body | {"at": at.isoformat(), "deduplicationKey": "b"}).ok()
    assert (once["at"], once["nextRun"]) == (said, said)
    assert once["generator"]["description"] == f"Once, at {said}"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"cron": "every day"}, "cron"),
        ({"timezone": "Europe/Atlantis"}, "timezone"),
        ({"task": "unheard-of"}, "task"),
        ({"window": "2 fortnights"}, "window"),
        ({"every": 10}, "cron"),
        ({"jitter": -1}, "jitter"),
        ({"missedLimit": 0}, "missedLimit"),
        ({"deduplicationKey": "x" * 300}, "deduplicationKey"),
        ({"deduplicationKey": "declared/resize"}, "deduplicationKey"),
        ({"externalId": "x" * 300}, "externalId"),
        ({"options": {"maxAttempts": 10_000}}, "maxAttempts"),
        ({"options": {"ttl": "soon"}}, "ttl"),
        ({"payload": "path", "options": {"payloadType": "application/store"}}, "payload"),
        ({"payload": "x" * 200_000}, "payload"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_field(api, change, field):
    answer = api.post(PATH, BODY | change)
    assert answer.status == 422
    assert field in answer.body["details"]


def test_a_body_without_its_key_is_malformed(api):
    assert api.post(PATH, {"task": "resize", "cron": "* * * * *"}).status == 400
    assert api.post(PATH, BODY | {"overlap": "sometimes"}).status == 400


def test_lists_by_number(api):
    for n in range(3):
        made(api, deduplicationKey=f"k{n}", externalId=f"user_{n}")
    page = api.get(PATH, {"perPage": 2, "page": 1}).ok()
    assert [item["deduplicationKey"] for item in page["data"]] == ["k2", "k1"]
    assert page["pagination"] == {"currentPage": 1, "totalPages": 2, "count": 3}
    one = api.get(PATH, {"externalId": "user_1"}).ok()["data"]
    assert [item["deduplicationKey"] for item in one] == ["k1"]
    assert api.get(PATH, {"task": "other"}).ok()["data"] == []


def test_what_comes_is_told_in_order(api):
    first, second = made(api, cron="0 * * * *"), made(api, cron="30 * * * *", deduplicationKey="b")
    found = api.get(f"{PATH}/upcoming", {"limit": 4}).ok()["data"]
    assert {item["schedule"] for item in found} == {first["id"], second["id"]}
    assert [item["timestamp"] for item in found] == sorted(item["timestamp"] for item in found)
    assert len(found) == 4
    alone = api.get(f"{PATH}/upcoming", {"limit": 4, "schedule": first["id"]}).ok()["data"]
    assert {item["schedule"] for item in alone} == {first["id"]}
    assert api.get(f"{PATH}/upcoming", {"limit": 0}).status == 400
    assert api.get(f"{PATH}/upcoming", {"from": "yesterday"}).status == 400


def test_a_range_of_the_past_is_backfilled_once(api):
    path = f"{PATH}/{made(api, cron='0 * * * *')['id']}"
    day = {"from": "2026-11-01T00:00:00Z", "to": "2026-11-01T05:30:00Z"}
    ticks = api.post(f"{path}/backfill", day).ok()["data"]
    assert [tick["timestamp"][11:16] for tick in ticks] == [f"0{hour}:00" for hour in range(6)]
    assert {tick["origin"] for tick in ticks} == {"backfill"}
    assert api.post(f"{path}/backfill", day).ok()["data"] == []
    assert len(api.get(f"{path}/ticks").ok()["data"]) == 6
    year = {"from": "2025-11-01T00:00:00Z", "to": "2026-11-01T05:30:00Z"}
    assert api.post(f"{path}/backfill", year).status == 422


def test_runs_name_the_schedule_that_started_them(api):
    schedule = made(api, externalId="user_1")
    later = clock.now() + timedelta(days=7)
    tick_schedules(later)
    other = scenes.run(api)
    [run] = api.get("/api/v1/runs", {"filter[schedule]": schedule["id"]}).ok()["data"]
    assert run["id"] != other
    shown = api.get(f"/api/v3/runs/{run['id']}").ok()
    assert shown["schedule"] == {
        "id": schedule["id"], "externalId": "user_1", "deduplicationKey": "daily",
        "generator": schedule["generator"],
    }  # fmt: skip
    assert shown["payload"]["scheduleId"] == schedule["id"]
    assert "schedule" not in api.get(f"/api/v3/runs/{other}").ok()


def test_declared_schedules_are_switched_here_and_changed_in_code(api, acme):
    declared = {"cron": "0 9 * * *", "timezone": "Europe/Paris"}
    scenes.version(acme.scope, {**scenes.TASK, "schedule": declared})
    declare(acme.production.id, now=clock.now())
    [shown] = api.get(PATH).ok()["data"]
    assert (shown["type"], shown["timezone"]) == ("DECLARATIVE", "Europe/Paris")
    path = f"{PATH}/{shown['id']}"
    assert api.put(path, {"task": "resize", "cron": "* * * * *"}).status == 422
    assert api.delete(path).status == 422
    assert api.post(f"{path}/deactivate").ok()["active"] is False


def test_charlie_sees_and_changes_nothing(api, charlie):
    path = f"{PATH}/{made(api)['id']}"
    assert charlie.get(path).status == 404
    assert charlie.put(path, {"task": "resize", "cron": "* * * * *"}).status == 404
    for verb in ("activate", "deactivate"):
        assert charlie.post(f"{path}/{verb}").status == 404
    assert charlie.delete(path).status == 404
    assert charlie.get(f"{path}/ticks").status == 404
    assert charlie.get(PATH).ok()["data"] == []
    assert api.get(path).ok()["active"] is True


def test_unknown_ids_are_not_found(api):
    assert api.get(f"{PATH}/{public_id('sched', new_id())}").status == 404
    assert api.get(f"{PATH}/nonsense").status == 404


def test_timezones_are_open_to_anybody(nobody):
    assert nobody.get("/api/v1/timezones").ok()["timezones"][0] == "UTC"
    without = nobody.get("/api/v1/timezones", {"excludeUtc": "true"}).ok()["timezones"]
    assert "UTC" not in without
    assert "Europe/Paris" in without


# -- What its runs get -------------------------------------------------------------------------

OPTIONS = {
    "queue": {"name": "thumbnails"}, "concurrencyKey": "eu", "ttl": "600s", "tags": ["eu"],
    "metadata": {"by": "alice"}, "machine": "small-2x", "maxAttempts": 2, "maxDuration": 90,
    "priority": 30.5,
}  # fmt: skip


def test_a_payload_and_options_are_said_as_in_a_trigger(api):
    shown = made(api, payload={"region": "eu"}, options=OPTIONS)
    assert (shown["payload"], shown["options"]) == ({"region": "eu"}, OPTIONS)
    assert "problem" not in shown
    assert api.get(f"{PATH}/{shown['id']}").ok() == shown
    tick_schedules(Schedule.objects.get().due_at)
    [run] = api.get("/api/v1/runs").ok()["data"]
    detail = api.get(f"/api/v3/runs/{run['id']}").ok()
    assert detail["payload"]["payload"] == {"region": "eu"}
    told = {"tags", "ttl", "metadata", "machine", "maxAttempts", "maxDuration", "priority"}
    assert {name: detail[name] for name in told} == {name: OPTIONS[name] for name in told}
    assert (detail["queue"], detail["concurrencyKey"]) == ({"name": "thumbnails"}, "eu")


def test_superjson_null_and_nothing(api):
    text = '{"json":{"at":"2026-01-01T00:00:00.000Z"},"meta":{"values":{"at":["Date"]}}}'
    typed = made(api, payload=text, options={"payloadType": "application/super+json"})
    assert typed["payload"] == {"at": "2026-01-01T00:00:00.000Z"}
    assert "options" not in typed
    assert made(api, payload=None)["payload"] is None
    assert "payload" not in made(api)


def test_an_update_without_them_takes_them_away(api):
    path = f"{PATH}/{made(api, payload=1, options=OPTIONS)['id']}"
    changed = api.put(path, {"task": "resize", "cron": "@daily"}).ok()
    assert changed.keys().isdisjoint({"payload", "options"})


def test_lists_leave_out_what_may_be_long(api, django_assert_max_num_queries):
    made(api, payload=1, options=OPTIONS)
    with django_assert_max_num_queries(12):
        [listed] = api.get(PATH).ok()["data"]
    assert listed.keys().isdisjoint({"payload", "options", "problem"})


@pytest.mark.parametrize(
    "name", ["delay", "idempotencyKey", "debounce", "overlap", "lockToVersion", "test"]
)
def test_what_only_a_trigger_may_say_is_refused(api, name):
    answer = api.post(PATH, BODY | {"options": {name: "1h"}})
    assert answer.status == 400
    assert "is not for schedules" in str(answer.body)


def test_a_schedule_says_what_is_wrong_with_it(api, acme):
    shown = made(api)
    scenes.version(acme.scope, {**scenes.TASK, "id": "other"})
    told = api.get(f"{PATH}/{shown['id']}").ok()
    assert told["problem"] == "The current version of this environment has no task resize."
