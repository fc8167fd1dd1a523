import json

import pytest

from tests.api import scenes
from tests.api.client import Api
from tests.api.test_authentication import token_for

NDJSON = {"content_type": "application/x-ndjson"}


def lines(*items):
    return "\n".join(json.dumps(item) for item in items).encode()


def announced(api, count=2, **more):
    return api.post("/api/v3/batches", {"runCount": count, **more}).ok()["id"]


def filled(api, *items):
    batch = announced(api, len(items))
    numbered = [{"index": index, **item} for index, item in enumerate(items)]
    api.post(f"/api/v3/batches/{batch}/items", lines(*numbered), **NDJSON).ok()
    return batch


# -- Two phases --------------------------------------------------------------------------------


def test_a_batch_is_announced_and_filled(api):
    created = api.post("/api/v3/batches", {"runCount": 2, "taskIdentifiers": ["resize"]})

    assert created.status == 202
    batch = created.body["id"]
    assert created.body == {"id": batch, "runCount": 2, "isCached": False}
    assert json.loads(created.headers["x-trigger-jwt-claims"])["pub"] is True

    answer = api.post(
        f"/api/v3/batches/{batch}/items",
        lines(
            {"index": 0, "task": "resize", "payload": {"n": 1}},
            {"index": 1, "task": "other", "payload": "t", "options": {"tags": "t"}},
        ),
        **NDJSON,
    )

    assert answer.ok() == {
        "id": batch,
        "itemsAccepted": 2,
        "itemsDeduplicated": 0,
        "sealed": True,
        "enqueuedCount": 2,
        "expectedCount": 2,
    }
    shown = api.get(f"/api/v2/batches/{batch}").ok()
    assert (shown["status"], shown["runCount"], len(shown["runs"])) == ("PROCESSING", 2, 2)
    assert shown["processing"] == {"errors": []}
    second = api.get(f"/api/v3/runs/{shown['runs'][1]}").ok()
    assert (second["taskIdentifier"], second["tags"], second["batchId"]) == ("other", ["t"], batch)


def test_items_that_are_sent_again_count_once(api):
    batch = announced(api, 3)
    first = lines({"index": 0, "task": "resize"}, {"index": 1, "task": "resize"})
    whole = first + b"\n" + lines({"index": 2, "task": "resize"})
    path = f"/api/v3/batches/{batch}/items"

    assert api.post(path, first, **NDJSON).ok()["sealed"] is False
    again = api.post(path, whole, **NDJSON).ok()

    assert (again["itemsAccepted"], again["itemsDeduplicated"], again["sealed"]) == (1, 2, True)
    assert len(api.get(f"/api/v2/batches/{batch}").ok()["runs"]) == 3


def test_a_batch_of_more_items_than_one_portion_is_taken_whole(api):
    batch = announced(api, 600)
    items = lines(*({"index": index, "task": "resize"} for index in range(600)))

    progress = api.post(f"/api/v3/batches/{batch}/items", items, **NDJSON).ok()

    assert (progress["itemsAccepted"], progress["sealed"]) == (600, True)


def test_one_idempotency_key_is_one_batch(api):
    first = api.post("/api/v3/batches", {"runCount": 2, "idempotencyKey": "once"}).ok()
    second = api.post("/api/v3/batches", {"runCount": 2, "idempotencyKey": "once"}).ok()

    assert second == {**first, "isCached": True, "sealed": False}
    assert second["idempotencyKey"] == "once"


def test_items_inherit_the_parent_that_waits(api, acme):
    scenes.version(acme.scope)
    parent = scenes.run(api)
    created = api.post(
        "/api/v3/batches",
        {"runCount": 1, "parentRunId": parent, "resumeParentOnCompletion": True},
    ).ok()
    api.post(
        f"/api/v3/batches/{created['id']}/items", lines({"index": 0, "task": "resize"}), **NDJSON
    ).ok()

    assert created["waitpointId"].startswith("waitpoint_")
    child = api.get(f"/api/v2/batches/{created['id']}").ok()["runs"][0]
    shown = api.get(f"/api/v3/runs/{child}").ok()
    assert shown["relatedRuns"]["parent"]["id"] == parent
    assert shown["triggerFunction"] == "batchTriggerAndWait"


def test_an_item_that_cannot_be_triggered_leaves_the_others_alone(api):
    batch = filled(api, {"task": "resize"}, {"task": "resize", "options": {"tags": ["x" * 129]}})

    shown = api.get(f"/api/v2/batches/{batch}").ok()

    assert len(shown["runs"]) == 1
    assert shown["processing"]["errors"] == [
        {
            "index": 1,
            "taskIdentifier": "resize",
            "error": "a tag has 1 to 128 characters, this one has 129",
            "errorCode": "invalid",
        }
    ]


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"", 400, "The body has no items"),
        (b"{", 400, "Line 1: The body is not JSON: Expecting property name enclosed in double "
         "quotes: line 1 column 2 (char 1)"),
        (lines({"task": "resize"}), 422, "Line 1: index: This field is required."),
        (lines({"index": 0, "task": "resize"}, {"index": -1, "task": "resize"}), 422,
         "Line 2: index: Ensure this value is greater than or equal to 0."),
        (lines({"index": 0, "task": "resize", "options": {"delay": "soon"}}), 422,
         "Line 1: delay 'soon' is neither a duration (30s, 10m, 1h30m, 7d) nor an ISO 8601 date"),
        (lines({"index": 2, "task": "resize"}), 422, "item 2 is outside of this batch of 2"),
        (lines({"index": 0, "task": "resize", "payload": "x" * 7 * 1024 * 1024}), 413,
         f"Line 1: an item may be at most {7 * 1024 * 1024} bytes"),
    ],
)  # fmt: skip
def test_bad_items_are_refused_with_their_line(api, body, status, message):
    answer = api.post(f"/api/v3/batches/{announced(api)}/items", body, **NDJSON)

    assert (answer.status, answer.error) == (status, message)


def test_items_come_as_ndjson_only(api):
    answer = api.post(f"/api/v3/batches/{announced(api)}/items", lines({"index": 0}))

    assert (answer.status, answer.error) == (
        415,
        "The items of a batch are sent as application/x-ndjson",
    )


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({}, 400, "runCount: This field is required."),
        ({"runCount": 0}, 400, "runCount: Ensure this value is greater than or equal to 1."),
        ({"runCount": 10**9}, 422, f"a batch has 1 to 10000 items, this one would have {10**9}"),
        ({"runCount": 1, "idempotencyKey": "k" * 2049}, 422,
         "idempotencyKey has 1 to 2048 characters, this one has 2049"),
    ],
)  # fmt: skip
def test_a_bad_announcement_is_refused(api, body, status, message):
    answer = api.post("/api/v3/batches", body)

    assert (answer.status, answer.error) == (status, message)


# -- In one request ----------------------------------------------------------------------------


def test_a_batch_may_be_sent_at_once(api):
    answer = api.post("/api/v2/tasks/batch", {"items": [{"task": "resize"}, {"task": "other"}]})

    assert answer.status == 202
    assert (answer.body["runCount"], answer.body["isCached"]) == (2, False)
    assert len(api.get(f"/api/v2/batches/{answer.body['id']}").ok()["runs"]) == 2


def test_a_batch_without_items_is_refused(api):
    answer = api.post("/api/v2/tasks/batch", {"items": []})

    assert (answer.status, answer.error) == (400, "items: This list may not be empty.")


# -- Results, tokens, tenancy ------------------------------------------------------------------


def test_results_are_those_of_the_runs_that_have_ended(api):
    batch = filled(api, {"task": "resize"}, {"task": "resize"})
    first = api.get(f"/api/v2/batches/{batch}").ok()["runs"][0]
    scenes.finish(first, output="1")

    results = api.get(f"/api/v1/batches/{batch}/results").ok()

    assert results["id"] == batch
    assert [(item["id"], item["output"]) for item in results["items"]] == [(first, "1")]


def test_a_batch_whose_runs_have_all_ended_is_completed(api):
    batch = filled(api, {"task": "resize"})
    scenes.finish(api.get(f"/api/v2/batches/{batch}").ok()["runs"][0])

    shown = api.get(f"/api/v2/batches/{batch}").ok()

    assert shown["status"] == "COMPLETED"
    assert shown["processing"]["completedAt"]


def test_a_public_token_batches_only_its_own_tasks(acme):
    browser = Api(token_for(acme, scopes=["batchTrigger:tasks:resize"]))

    batch = announced(browser, 1, taskIdentifiers=["resize"])
    path = f"/api/v3/batches/{batch}/items"

    assert (
        browser.post("/api/v3/batches", {"runCount": 1, "taskIdentifiers": ["other"]}).status == 403
    )
    assert browser.post(path, lines({"index": 0, "task": "other"}), **NDJSON).status == 403
    assert browser.post(path, lines({"index": 0, "task": "resize"}), **NDJSON).status == 200
    assert browser.post("/api/v2/tasks/batch", {"items": [{"task": "other"}]}).status == 403


def test_a_batch_is_read_with_its_own_scope(api, acme):
    batch = filled(api, {"task": "resize"})

    assert Api(token_for(acme, scopes=[f"read:batch:{batch}"])).get(f"/api/v2/batches/{batch}").ok()
    other = Api(token_for(acme, scopes=["read:batch:batch_x"]))
    assert other.get(f"/api/v2/batches/{batch}").status == 403


def test_a_one_time_token_announces_one_batch(acme):
    browser = Api(token_for(acme, scopes=["batchTrigger:tasks:resize"], otu=True))
    batch = announced(browser, 1, taskIdentifiers=["resize"])

    assert browser.post(
        f"/api/v3/batches/{batch}/items", lines({"index": 0, "task": "resize"}), **NDJSON
    ).ok()["sealed"]
    again = browser.post("/api/v3/batches", {"runCount": 1})
    assert (again.status, again.error) == (422, "this one-time token has already been used")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v2/batches/{batch}"),
        ("GET", "/api/v1/batches/{batch}/results"),
        ("POST", "/api/v3/batches/{batch}/items"),
    ],
)
def test_charlie_finds_no_batch_of_acme(api, charlie, method, path):
    batch = announced(api, 1)
    body = lines({"index": 0, "task": "resize"})

    answer = charlie.send(method, path.format(batch=batch), body=body, headers=NDJSON)

    assert answer.status == 404


# -- Results page by page, and the older forms -------------------------------------------------


def test_an_item_that_could_not_be_started_has_a_result_at_its_place(api):
    batch = filled(api, {"task": "resize"}, {"task": "resize", "options": {"lockToVersion": "1"}})
    [run] = api.get(f"/api/v2/batches/{batch}").ok()["runs"]
    scenes.finish(run, output="1")

    first, second = api.get(f"/api/v1/batches/{batch}/results").ok()["items"]

    assert (first["ok"], first["id"]) == (True, run)
    assert (second["ok"], second["id"]) == (False, f"{batch}_1")
    assert second["error"]["code"] == "BATCH_ITEM_COULD_NOT_TRIGGER"
    assert second["taskIdentifier"] == "resize"


def test_results_page_by_page(api):
    batch = filled(api, *[{"task": "resize"}] * 5)
    for number, run in enumerate(api.get(f"/api/v2/batches/{batch}").ok()["runs"]):
        scenes.finish(run, output=str(number))
    path, found, after = f"/api/v1/batches/{batch}/results", [], None
    for _ in range(3):
        page = api.get(path, {"page[size]": 2} | ({"page[after]": after} if after else {})).ok()
        found += [item["output"] for item in page["items"]]
        after = page.get("pagination", {}).get("next")
    assert (found, after) == (["0", "1", "2", "3", "4"], None)
    assert api.get(path, {"page[size]": "9999"}).status == 400
    assert api.get(path, {"page[after]": "x"}).status == 400


def test_the_oldest_forms_answer_with_the_runs(api):
    items = [{"payload": {"n": 1}}, {"payload": {"n": 2}, "options": {"tags": "t"}}]
    one = api.post("/api/v1/tasks/resize/batch", {"items": items}).ok()
    assert one["batchId"] == one["id"]
    shown = [api.get(f"/api/v3/runs/{run}").ok() for run in one["runs"]]
    assert [run["payload"] for run in shown] == [{"n": 1}, {"n": 2}]
    assert {run["taskIdentifier"] for run in shown} == {"resize"}
    mixed = [{"task": "resize", "payload": 1}, {"task": "other/task", "payload": 2}]
    many = api.post("/api/v1/tasks/batch", {"items": mixed}).ok()
    assert len(many["runs"]) == 2
    assert api.get(f"/api/v1/batches/{many['id']}").ok()["runs"] == many["runs"]
    assert api.post("/api/v1/tasks/resize/batch", {"items": []}).status == 400


def test_a_batch_that_its_maker_did_not_fill_is_filled_by_whoever_asks_again(api):
    body = {"runCount": 1, "idempotencyKey": "k"}
    first = api.post("/api/v3/batches", body).ok()
    again = api.post("/api/v3/batches", body).ok()
    assert "sealed" not in first
    assert (again["isCached"], again["sealed"]) == (True, False)
    path = f"/api/v3/batches/{first['id']}/items"
    api.post(path, lines({"index": 0, "task": "resize"}), **NDJSON).ok()
    assert api.post("/api/v3/batches", body).ok()["sealed"] is True


def test_a_public_token_batches_its_own_task_by_path_only(acme):
    browser = Api(token_for(acme, scopes=["batchTrigger:tasks:resize"]))
    items = {"items": [{"payload": 1}]}
    assert browser.post("/api/v1/tasks/resize/batch", items).status == 200
    assert browser.post("/api/v1/tasks/other/batch", items).status == 403
