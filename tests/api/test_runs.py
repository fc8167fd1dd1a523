from datetime import timedelta
from typing import Any

import pytest
import time_machine

from apps.core import clock
from apps.core.ids import new_id, public_id
from apps.runs.states import RunStatus
from tests.api import scenes
from tests.api.client import Api
from tests.api.test_authentication import token_for

REQUIRED = {
    "id", "status", "taskIdentifier", "isQueued", "isExecuting", "isWaiting", "isCompleted",
    "isSuccess", "isFailed", "isCancelled", "isTest", "createdAt", "updatedAt", "tags",
    "costInCents", "baseCostInCents", "durationMs",
}  # fmt: skip


def ids(page):
    return [item["id"] for item in page["data"]]


# -- Retrieve ----------------------------------------------------------------------------------


def test_a_run_has_what_the_clients_require_and_no_null(api):
    run = api.get(f"/api/v3/runs/{scenes.run(api, payload={'a': 1})}").ok()

    assert REQUIRED | {"depth", "triggerFunction", "relatedRuns", "attemptCount"} <= run.keys()
    assert None not in run.values()
    assert (run["depth"], run["triggerFunction"], run["attempts"]) == (0, "trigger", [])


def test_a_completed_run_shows_its_decoded_output(api):
    run = scenes.run(api)
    scenes.finish(run, output='{"json":{"ok":true}}', output_type="application/super+json")

    shown = api.get(f"/api/v3/runs/{run}").ok()

    assert (shown["status"], shown["output"], shown["durationMs"]) == (
        "COMPLETED",
        {"ok": True},
        120,
    )
    assert [shown[name] for name in ("isCompleted", "isSuccess", "isFailed", "isQueued")] == [
        True, True, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (
            {"type": "BUILT_IN_ERROR", "name": "ValueError", "message": "no", "stackTrace": "at x"},
            {"name": "ValueError", "message": "no", "stackTrace": "at x"},
        ),
        ({"type": "STRING_ERROR", "raw": "no"}, {"message": "no"}),
        ({"type": "CUSTOM_ERROR", "raw": '{"a":1}'}, {"message": '{"a":1}'}),
        (
            {"type": "INTERNAL_ERROR", "code": "TASK_PROCESS_OOM_KILLED", "message": "no memory"},
            {"name": "TASK_PROCESS_OOM_KILLED", "message": "no memory"},
        ),
    ],
)
def test_a_failed_run_shows_its_error_whatever_its_type(api, error, shown):
    run = scenes.run(api)
    scenes.finish(run, RunStatus.FAILED, error=error)

    found = api.get(f"/api/v3/runs/{run}").ok()

    assert (found["error"], found["isFailed"]) == (shown, True)


@pytest.mark.parametrize("status", [RunStatus.TIMED_OUT, RunStatus.EXPIRED, RunStatus.CRASHED])
def test_every_final_status_counts_as_completed_so_that_polls_end(api, status):
    run = scenes.run(api)
    scenes.finish(run, status)

    shown = api.get(f"/api/v3/runs/{run}").ok()

    assert (shown["isCompleted"], shown["isSuccess"], shown["isFailed"]) == (True, False, True)


def test_a_family_is_shown(api, acme):
    scenes.version(acme.scope)
    root = scenes.run(api)
    parent = scenes.run(api, parentRunId=root)
    child = scenes.run(api, parentRunId=parent)

    family = api.get(f"/api/v3/runs/{parent}").ok()["relatedRuns"]

    assert (family["root"]["id"], family["parent"]["id"]) == (root, root)
    assert [related["id"] for related in family["children"]] == [child]
    assert api.get(f"/api/v3/runs/{child}").ok()["relatedRuns"]["root"]["id"] == root


def test_older_clients_are_told_the_older_names(api, acme):
    run = scenes.run(api, "unheard-of")
    older = Api(acme.secret)
    del older._headers["x-trigger-api-version"]

    assert older.get(f"/api/v3/runs/{run}").ok()["status"] == "WAITING_FOR_DEPLOY"
    assert older.get("/api/v1/runs").ok()["data"][0]["status"] == "WAITING_FOR_DEPLOY"


def test_a_queued_run_says_why_it_is_not_running(api):
    shown = api.get(f"/api/v3/runs/{scenes.run(api, 'unheard-of')}").ok()

    assert shown["reason"] == (
        "No promoted version has a task 'unheard-of' yet; it is queued when one comes."
    )


@pytest.mark.parametrize("run", ["run_nonsense", "run_06ekzj5sn9vkt2v7c5hjf3e8mc", "x", "run_%00"])
def test_an_unknown_run_is_404_and_not_to_be_retried(api, run):
    answer = api.get(f"/api/v3/runs/{run}")

    assert (answer.status, answer.error) == (404, "Not found")
    assert answer.headers["x-should-retry"] == "false"


# -- Tenancy -----------------------------------------------------------------------------------

ROUTES: list[tuple[str, str, Any]] = [
    ("GET", "/api/v3/runs/{run}", None),
    ("POST", "/api/v2/runs/{run}/cancel", None),
    ("POST", "/api/v1/runs/{run}/cancel", None),
    ("POST", "/api/v1/runs/{run}/replay", None),
    ("POST", "/api/v1/runs/{run}/reschedule", {"delay": "1h"}),
    ("POST", "/api/v1/runs/{run}/tags", {"tags": "x"}),
    ("GET", "/api/v1/runs/{run}/metadata", None),
    ("PUT", "/api/v1/runs/{run}/metadata", {"metadata": {}}),
    ("GET", "/api/v1/runs/{run}/result", None),
    ("GET", "/api/v1/runs/{run}/events", None),
    ("GET", "/api/v1/runs/{run}/packets/payload", None),
]


@pytest.mark.parametrize(("method", "path", "body"), ROUTES)
def test_charlie_finds_no_run_of_acme(api, charlie, method, path, body):
    run = scenes.run(api, delay="1h")

    answer = charlie.send(method, path.format(run=run), body=body)

    assert answer.status == 404
    assert api.get(f"/api/v3/runs/{run}").ok()["status"] == "DELAYED"


@pytest.mark.parametrize(("method", "path", "body"), ROUTES)
def test_another_environment_of_acme_finds_none_either(api, acme, method, path, body):
    run = scenes.run(api, delay="1h")

    assert Api(acme.keys["staging"]).send(method, path.format(run=run), body=body).status == 404


def test_charlie_lists_no_run_of_acme(api, charlie):
    scenes.run(api)

    assert charlie.get("/api/v1/runs").ok()["data"] == []


# -- Public tokens -----------------------------------------------------------------------------


def test_a_run_is_read_by_its_id_its_task_or_any_of_its_tags(api, acme):
    run = scenes.run(api, tags=["user_1"])

    for scope in (
        f"read:runs:{run}",
        "read:tasks:resize",
        "read:tags:user_1",
        "read:runs",
        "admin",
    ):
        assert Api(token_for(acme, scopes=[scope])).get(f"/api/v3/runs/{run}").status == 200
    for scope in ("read:runs:run_x", "read:tasks:other", "read:tags:user_2", "read:batch:b"):
        assert Api(token_for(acme, scopes=[scope])).get(f"/api/v3/runs/{run}").status == 403


def test_reading_is_not_writing(api, acme):
    run = scenes.run(api)

    assert (
        Api(token_for(acme, scopes=["read:runs"])).post(f"/api/v2/runs/{run}/cancel").status == 403
    )
    writer = Api(token_for(acme, scopes=[f"write:runs:{run}"]))
    assert writer.post(f"/api/v2/runs/{run}/cancel").status == 200


def test_a_token_for_one_task_lists_its_runs_only(api, acme):
    run = scenes.run(api)
    scenes.run(api, "other")
    reader = Api(token_for(acme, scopes=["read:tasks:resize"]))

    assert ids(reader.get("/api/v1/runs", {"filter[taskIdentifier]": "resize"}).ok()) == [run]
    assert reader.get("/api/v1/runs", {"filter[taskIdentifier]": "resize,other"}).status == 403
    assert reader.get("/api/v1/runs").status == 403


def test_a_token_for_one_tag_lists_its_runs_only(api, acme):
    run = scenes.run(api, tags=["user_1"])
    reader = Api(token_for(acme, scopes=["read:tags:user_1"]))

    assert ids(reader.get("/api/v1/runs", {"filter[tag]": "user_1"}).ok()) == [run]
    assert reader.get("/api/v1/runs", {"filter[tag]": "user_1,user_2"}).status == 403


# -- List --------------------------------------------------------------------------------------


def test_runs_are_listed_newest_first_with_their_environment(api, acme):
    first, second = scenes.run(api), scenes.run(api)

    page = api.get("/api/v1/runs").ok()

    assert ids(page) == [second, first]
    assert page["pagination"] == {}
    assert REQUIRED | {"env"} <= page["data"][0].keys()
    assert page["data"][0]["env"] == {"id": acme.production.public_id, "name": "Production"}


def test_pages_lead_to_the_end_and_back(api):
    made = [scenes.run(api) for _ in range(5)][::-1]

    first = api.get("/api/v1/runs", {"page[size]": 2}).ok()
    second = api.get(
        "/api/v1/runs", {"page[size]": 2, "page[after]": first["pagination"]["next"]}
    ).ok()
    third = api.get(
        "/api/v1/runs", {"page[size]": 2, "page[after]": second["pagination"]["next"]}
    ).ok()
    back = api.get(
        "/api/v1/runs", {"page[size]": 2, "page[before]": second["pagination"]["previous"]}
    ).ok()

    assert ids(first) + ids(second) + ids(third) == made
    assert "next" not in third["pagination"]
    assert "previous" not in first["pagination"]
    assert ids(back) == ids(first)


def test_who_turns_around_goes_the_way_of_the_later_cursor(api):
    """The public client keeps the cursor it came with when it asks for the previous page."""
    for _ in range(6):
        scenes.run(api)
    with time_machine.travel(clock.now(), tick=False) as traveller:
        first = api.get("/api/v1/runs", {"page[size]": 2}).ok()
        after = {"page[size]": 2, "page[after]": first["pagination"]["next"]}
        traveller.shift(1)
        second = api.get("/api/v1/runs", after).ok()
        both = {**after, "page[before]": second["pagination"]["previous"]}
        traveller.shift(1)
        back = api.get("/api/v1/runs", both).ok()
        traveller.shift(1)
        forth = api.get("/api/v1/runs", {**both, "page[after]": back["pagination"]["next"]}).ok()

    assert ids(back) == ids(first)
    assert ids(forth) == ids(second)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"page[size]": "0"}, "page[size] must be a whole number from 1 to 100"),
        ({"page[size]": "101"}, "page[size] must be a whole number from 1 to 100"),
        ({"page[size]": "²"}, "page[size] must be a whole number from 1 to 100"),
        ({"page[after]": "nonsense"}, "page[after] is not a cursor of this list"),
        ({"page[before]": "cursor_1.2"}, "page[before] is not a cursor of this list"),
        ({"filter[machine]": "huge"}, "filter[machine] 'huge' is not one of micro, small-1x, "
         "small-2x, medium-1x, medium-2x, large-1x, large-2x"),
        ({"filter[isTest]": "maybe"}, "filter[isTest] 'maybe' is neither true nor false"),
        ({"filter[batch]": "batch_1"}, "filter[batch] 'batch_1' is not an id of this kind"),
        ({"filter[tag]": "a\0b"}, "filter[tag] 'a\\x00b' contains a NUL character"),
        ({"filter[createdAt][period]": "ever"}, "period 'ever' is not a duration: write it like "
         "30s, 10m, 1h30m, 7d or 2w"),
        ({"filter[createdAt][from]": "noon"}, "filter[createdAt][from] 'noon' is neither an "
         "ISO 8601 date nor milliseconds since 1970"),
        ({"filter[createdAt][to]": "9" * 30}, f"filter[createdAt][to] '{'9' * 30}' is not a time "
         "in milliseconds since 1970"),
    ],
)  # fmt: skip
def test_a_query_that_means_nothing_is_400(api, query, message):
    answer = api.get("/api/v1/runs", query)

    assert (answer.status, answer.error) == (400, message)


def test_an_unknown_status_is_400(api):
    answer = api.get("/api/v1/runs", {"filter[status]": "QUEUED,DONE"})

    assert answer.status == 400
    assert answer.error.startswith("filter[status] 'DONE' is not one of PENDING_VERSION, ")


def test_every_filter_narrows_the_list(api, acme):
    number = scenes.version(acme.scope)
    wanted = scenes.run(
        api, tags=["user_1", "nightly"], queue={"name": "images"}, machine="micro", test=True,
        lockToVersion=number,
    )  # fmt: skip
    scenes.run(api, "other")
    now = clock.now()

    for query in (
        {"filter[status]": "QUEUED,EXECUTING"},
        {"filter[taskIdentifier]": "resize,unheard-of"},
        {"filter[version]": number},
        {"filter[tag]": "user_1,user_2"},
        {"filter[queue]": "images"},
        {"filter[machine]": "micro,large-1x"},
        {"filter[isTest]": "true"},
        {"filter[taskIdentifier]": "resize", "filter[createdAt][period]": "1h"},
        {"filter[taskIdentifier]": "resize", "filter[createdAt][from]": "0"},
        {"filter[tag]": "nightly", "filter[createdAt][to]": (now + timedelta(hours=1)).isoformat()},
    ):
        assert ids(api.get("/api/v1/runs", query).ok()) == [wanted], query
    for query in (
        {"filter[createdAt][to]": "0"},
        {"filter[createdAt][from]": str(int((now.timestamp() + 3600) * 1000))},
        {"filter[schedule]": public_id("sched", new_id())},
        {"filter[bulkAction]": public_id("bulk", new_id())},
    ):
        assert ids(api.get("/api/v1/runs", query).ok()) == [], query


def test_a_queue_of_a_task_is_named_after_it(api):
    run = scenes.run(api)

    assert ids(api.get("/api/v1/runs", {"filter[queue]": "task/resize"}).ok()) == [run]


def test_the_older_name_of_a_status_filters_too(api):
    run = scenes.run(api, "unheard-of")

    assert ids(api.get("/api/v1/runs", {"filter[status]": "WAITING_FOR_DEPLOY"}).ok()) == [run]


# -- The list of a project ---------------------------------------------------------------------


def test_a_person_lists_the_runs_of_every_environment(acme, api, alice):
    live = scenes.run(api)
    staged = scenes.run(Api(acme.keys["staging"]))
    path = f"/api/v1/projects/{acme.project.ref}/runs"

    everything = alice.get(path).ok()
    one = alice.get(path, {"filter[env]": "staging"}).ok()

    assert ids(everything) == [staged, live]
    assert [run["env"]["name"] for run in everything["data"]] == ["Staging", "Production"]
    assert ids(one) == [staged]


def test_pages_of_a_project_lead_to_the_end(acme, api, alice):
    staging = Api(acme.keys["staging"])
    made = [scenes.run(api if n % 2 else staging) for n in range(5)][::-1]
    path, seen, cursor = f"/api/v1/projects/{acme.project.ref}/runs", [], None

    while True:
        page = alice.get(path, {"page[size]": 2} | ({"page[after]": cursor} if cursor else {})).ok()
        seen += ids(page)
        cursor = page["pagination"].get("next")
        if cursor is None:
            break

    assert seen == made


def test_charlie_has_no_such_project(acme, charlie_in_person):
    answer = charlie_in_person.get(f"/api/v1/projects/{acme.project.ref}/runs")

    assert (answer.status, answer.error) == (404, "Project not found")


# -- Acting on runs ----------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/v2/runs/{run}/cancel", "/api/v1/runs/{run}/cancel"])
def test_a_queued_run_is_canceled_at_once_and_again_without_effect(api, path):
    run = scenes.run(api)

    assert api.post(path.format(run=run)).ok() == {"id": run}
    assert api.post(path.format(run=run)).ok() == {"id": run}
    assert api.get(f"/api/v3/runs/{run}").ok()["status"] == "CANCELED"


def test_a_replay_is_a_new_run_with_the_same_payload(api):
    run = scenes.run(api, payload={"image": 1}, tags=["user_1"])

    again = api.post(f"/api/v1/runs/{run}/replay").ok()["id"]

    shown = api.get(f"/api/v3/runs/{again}").ok()
    assert again != run
    assert (shown["payload"], shown["tags"], shown["replayOf"]) == ({"image": 1}, ["user_1"], run)


def test_a_replay_may_differ(api):
    run = scenes.run(api, payload={"image": 1}, machine="micro")
    changes = {"payload": {"image": 2}, "tags": "again", "queue": "images", "delay": "1h"}

    again = api.post(f"/api/v1/runs/{run}/replay", changes).ok()["id"]

    shown = api.get(f"/api/v3/runs/{again}").ok()
    assert (shown["payload"], shown["tags"], shown["status"]) == (
        {"image": 2},
        ["again"],
        "DELAYED",
    )
    assert (shown["queue"]["name"], shown["machine"]) == ("images", "micro")


def test_a_delayed_run_is_rescheduled(api):
    run = scenes.run(api, delay="1h")

    shown = api.post(f"/api/v1/runs/{run}/reschedule", {"delay": "2031-01-01T00:00:00Z"}).ok()

    assert (shown["id"], shown["delayedUntil"]) == (run, "2031-01-01T00:00:00Z")


def test_a_run_that_is_not_delayed_is_not_rescheduled(api):
    answer = api.post(f"/api/v1/runs/{scenes.run(api)}/reschedule", {"delay": "1h"})

    assert (answer.status, answer.error) == (
        422,
        "only a delayed run can be rescheduled, this one is PENDING_VERSION",
    )


def test_rescheduling_needs_a_delay(api):
    answer = api.post(f"/api/v1/runs/{scenes.run(api, delay='1h')}/reschedule", {})

    assert (answer.status, answer.error) == (400, "delay: This field is required.")


def test_tags_are_added_up_to_ten(api):
    run = scenes.run(api, tags=["a"])

    assert api.post(f"/api/v1/runs/{run}/tags", {"tags": ["b", "a"]}).ok()["message"]
    assert api.get(f"/api/v3/runs/{run}").ok()["tags"] == ["a", "b"]
    answer = api.post(f"/api/v1/runs/{run}/tags", {"tags": [str(n) for n in range(9)]})
    assert (answer.status, answer.error) == (422, "a run may have 10 tags, this one would have 11")


def test_metadata_is_replaced_and_changed_in_order(api):
    run = scenes.run(api, metadata={"done": 1})
    path = f"/api/v1/runs/{run}/metadata"
    steps = [
        {"type": "increment", "key": "done", "value": 2},
        {"type": "append", "key": "log", "value": "a"},
        {"type": "set", "key": "$.a.b", "value": None},
        {"type": "delete", "key": "gone"},
    ]

    assert api.get(path).ok() == {"metadata": {"done": 1}}
    assert api.put(path, {"operations": steps}).ok() == {
        "metadata": {"done": 3, "log": ["a"], "a": {"b": None}}
    }
    assert api.put(path, {"metadata": {"new": True}}).ok() == {"metadata": {"new": True}}


def test_operations_reach_parent_and_root(api, acme):
    scenes.version(acme.scope)
    root = scenes.run(api)
    parent = scenes.run(api, parentRunId=root)
    child = scenes.run(api, parentRunId=parent)
    step = {"type": "increment", "key": "n", "value": 1}

    api.put(
        f"/api/v1/runs/{child}/metadata", {"parentOperations": [step], "rootOperations": [step]}
    ).ok()

    assert api.get(f"/api/v1/runs/{parent}/metadata").ok() == {"metadata": {"n": 1}}
    assert api.get(f"/api/v1/runs/{root}/metadata").ok() == {"metadata": {"n": 1}}
    assert api.get(f"/api/v1/runs/{child}/metadata").ok() == {"metadata": {}}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"metadata": [1]}, 400),
        ({"metadata": {"a": "\ud800"}}, 400),
        ({"operations": [{"type": "explode", "key": "a"}]}, 400),
        ({"operations": [{"type": "set", "key": "a", "value": {"b": "\0"}}]}, 400),
        ({"operations": [{"type": "set", "key": "__proto__", "value": 1}]}, 422),
        ({"operations": [{"type": "increment", "key": "a", "value": "b"}]}, 422),
        ({"metadata": {"x": "y" * 256 * 1024}}, 413),
    ],
)
def test_bad_metadata_is_refused(api, body, status):
    run = scenes.run(api, metadata={"kept": True})

    assert api.put(f"/api/v1/runs/{run}/metadata", body).status == status
    assert api.get(f"/api/v1/runs/{run}/metadata").ok() == {"metadata": {"kept": True}}


def test_a_result_is_404_until_there_is_one(api):
    run = scenes.run(api)
    path = f"/api/v1/runs/{run}/result"

    assert api.get(path).error == "This run has not finished"
    scenes.finish(run, output='{"a":1}')
    assert api.get(path).ok() == {
        "ok": True,
        "id": run,
        "taskIdentifier": "resize",
        "usage": {"durationMs": 120},
        "output": '{"a":1}',
        "outputType": "application/json",
    }


def test_the_result_of_a_canceled_run_is_an_error_that_clients_can_parse(api):
    run = scenes.run(api)
    api.post(f"/api/v2/runs/{run}/cancel").ok()

    result = api.get(f"/api/v1/runs/{run}/result").ok()

    assert result["ok"] is False
    assert result["error"]["type"] == "INTERNAL_ERROR"
    assert result["error"]["code"] == "TASK_RUN_CANCELLED"


def test_events_tell_what_happened_in_order(api):
    run = scenes.run(api)
    api.post(f"/api/v2/runs/{run}/cancel").ok()

    events = api.get(f"/api/v1/runs/{run}/events").ok()["events"]

    assert [event["status"] for event in events] == ["PENDING_VERSION", "CANCELED"]
    assert events[0]["kind"] == "triggered"


def test_an_idempotency_key_is_forgotten(api):
    first = scenes.run(api, idempotencyKey="6ab9")

    assert api.post("/api/v1/idempotencyKeys/6ab9/reset", {"taskIdentifier": "resize"}).ok() == {
        "id": "6ab9"
    }
    assert scenes.run(api, idempotencyKey="6ab9") != first


def test_charlie_forgets_no_key_of_acme(api, charlie):
    scenes.run(api, idempotencyKey="6ab9")
    path = "/api/v1/idempotencyKeys/6ab9/reset"

    assert charlie.post(path, {"taskIdentifier": "resize"}).status == 404
    assert api.post(path, {"taskIdentifier": "other"}).status == 404
    assert api.post(path, {"taskIdentifier": "resize"}).status == 200
