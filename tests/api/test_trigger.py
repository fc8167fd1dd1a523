import json
from datetime import datetime, timedelta

import pytest

from apps.core.ids import public_id
from tests.api import scenes
from tests.api.client import Api
from tests.api.test_authentication import token_for

PATH = "/api/v1/tasks/resize/trigger"
MIB = 1024 * 1024
NOT_STORABLE = "contains a NUL character or half of a surrogate pair, which cannot be stored"
NO_MOMENT = "is neither a duration (30s, 10m, 1h30m, 7d) nor an ISO 8601 date"


def test_a_run_is_accepted(api, acme):
    answer = api.post(PATH, {"payload": {"image": 1}})

    assert answer.ok()["id"].startswith("run_")
    assert answer.body["isCached"] is False
    assert "waitpointId" not in answer.body
    claims = json.loads(answer.headers["x-trigger-jwt-claims"])
    assert claims == {"sub": public_id("env", acme.production.id), "pub": True}


def test_an_unknown_task_waits_for_its_version(api):
    run = scenes.run(api, "unheard-of")

    assert api.get(f"/api/v3/runs/{run}").ok()["status"] == "PENDING_VERSION"


def test_a_known_task_is_queued(api, acme):
    scenes.version(acme.scope)

    assert api.get(f"/api/v3/runs/{scenes.run(api)}").ok()["status"] == "QUEUED"


def test_the_id_of_a_task_may_contain_slashes_and_blanks(api):
    run = api.post("/api/v1/tasks/images%2Fresize%20all/trigger").ok()["id"]

    assert api.get(f"/api/v3/runs/{run}").ok()["taskIdentifier"] == "images/resize all"


def test_an_empty_body_is_accepted(api):
    run = api.post(PATH).ok()["id"]

    assert "payload" not in api.get(f"/api/v3/runs/{run}").ok()


@pytest.mark.parametrize(
    "content_type",
    ["text/plain;charset=UTF-8", "application/x-www-form-urlencoded", "", "nonsense"],
)
def test_the_body_is_json_whatever_its_content_type_says(api, content_type):
    run = api.post(PATH, {"payload": {"a": 1}}, content_type=content_type).ok()["id"]

    assert api.get(f"/api/v3/runs/{run}").ok()["payload"] == {"a": 1}


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ({"payload": {"a": [1, None]}}, {"a": [1, None]}),
        ({"payload": 7}, 7),
        ({"payload": "text"}, "text"),
        ({"payload": False}, False),
        ({"payload": "plain", "options": {"payloadType": "text/plain", "payloadSize": 5}}, "plain"),
        (
            {
                "payload": '{"json":{"when":"1970-01-01T00:00:00.000Z"},'
                '"meta":{"values":{"when":["Date"]}}}',
                "options": {"payloadType": "application/super+json", "payloadSize": 86},
            },
            {"when": "1970-01-01T00:00:00.000Z"},
        ),
    ],
)
def test_a_payload_is_read_back_as_json(api, body, shown):
    run = api.post(PATH, body).ok()["id"]

    assert api.get(f"/api/v3/runs/{run}").ok()["payload"] == shown


def test_every_option_is_kept(api, acme):
    number = scenes.version(acme.scope)
    run = scenes.run(
        api,
        payload={"a": 1},
        queue={"name": "images"},
        concurrencyKey=7,
        idempotencyKey="6ab9",
        idempotencyKeyOptions={"key": "image-1", "scope": "run"},
        ttl="10m",
        tags=["user_1", "x:y"],
        maxAttempts=2,
        metadata={"p": 1},
        maxDuration=60,
        machine="small-2x",
        priority=3,
        test=True,
        lockToVersion=number,
    )

    shown = api.get(f"/api/v3/runs/{run}").ok()
    assert shown["queue"] == {"name": "images"}
    assert {key: shown[key] for key in _KEPT} == {
        "concurrencyKey": "7",
        "idempotencyKey": "image-1",
        "ttl": "600s",
        "tags": ["user_1", "x:y"],
        "maxAttempts": 2,
        "metadata": {"p": 1},
        "maxDuration": 60,
        "machine": "small-2x",
        "priority": 3.0,
        "isTest": True,
        "version": number,
    }


_KEPT = (
    "concurrencyKey", "idempotencyKey", "ttl", "tags", "maxAttempts", "metadata", "maxDuration",
    "machine", "priority", "isTest", "version",
)  # fmt: skip


def test_null_counts_as_absent(api):
    assert api.post(PATH, {"options": {"tags": None, "delay": None, "queue": None}}).ok()


def test_a_delay_is_a_duration_or_a_date(api):
    soon = api.get(f"/api/v3/runs/{scenes.run(api, delay='1h')}").ok()
    dated = api.get(f"/api/v3/runs/{scenes.run(api, delay='2031-01-01T12:00:00Z')}").ok()

    assert (soon["status"], dated["status"]) == ("DELAYED", "DELAYED")
    wait = datetime.fromisoformat(soon["delayedUntil"]) - datetime.fromisoformat(soon["createdAt"])
    assert wait == timedelta(hours=1)
    assert dated["delayedUntil"] == "2031-01-01T12:00:00Z"


def test_one_idempotency_key_is_one_run(api):
    first = api.post(PATH, {"options": {"idempotencyKey": "once"}}).ok()
    second = api.post(PATH, {"options": {"idempotencyKey": "once"}}).ok()

    assert second == {"id": first["id"], "isCached": True}


def test_an_idempotency_key_may_come_as_a_header(api):
    first = api.post(PATH, {}, idempotency_key="once", idempotency_key_ttl="1h").ok()
    second = api.post(PATH, {}, idempotency_key="once").ok()

    assert second == {"id": first["id"], "isCached": True}


def test_a_request_that_is_sent_again_is_one_run_and_not_cached(api):
    first = api.post(PATH, {}, x_trigger_request_idempotency_key="a-uuid").ok()
    second = api.post(PATH, {}, x_trigger_request_idempotency_key="a-uuid").ok()

    assert second == first == {"id": first["id"], "isCached": False}


def test_a_parent_that_waits_is_told_for_what(api, acme):
    scenes.version(acme.scope)
    parent = scenes.run(api)

    child = api.post(
        PATH, {"options": {"parentRunId": parent, "resumeParentOnCompletion": True}}
    ).ok()

    assert child["waitpointId"].startswith("waitpoint_")
    shown = api.get(f"/api/v3/runs/{child['id']}").ok()
    assert shown["triggerFunction"] == "triggerAndWait"
    assert shown["relatedRuns"]["parent"]["id"] == parent
    assert shown["depth"] == 1


# -- Public tokens -----------------------------------------------------------------------------


def test_a_public_token_triggers_its_task_and_gets_one_to_read_the_run(acme):
    browser = Api(token_for(acme, scopes=["trigger:tasks:resize"]))

    answer = browser.post(PATH)

    run = answer.ok()["id"]
    reader = Api(answer.headers["x-trigger-jwt"])
    assert reader.get(f"/api/v3/runs/{run}").ok()["id"] == run
    assert reader.post(PATH).status == 403


def test_a_public_token_triggers_no_other_task(acme):
    browser = Api(token_for(acme, scopes=["trigger:tasks:resize"]))

    assert browser.post("/api/v1/tasks/other/trigger").status == 403


def test_a_one_time_token_triggers_once(acme):
    browser = Api(token_for(acme, scopes=["trigger:tasks:resize"], otu=True))

    assert browser.post(PATH).status == 200
    again = browser.post(PATH)
    assert (again.status, again.error) == (422, "this one-time token has already been used")


# -- Bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (
            b"{",
            400,
            "The body is not JSON: Expecting property name enclosed in double quotes: "
            "line 1 column 2 (char 1)",
        ),
        (b"[]", 400, "Invalid data. Expected a dictionary, but got list."),
        ({"options": 7}, 400, "options: Invalid data. Expected a dictionary, but got int."),
        (
            {"options": {"queue": "q"}},
            400,
            "options.queue: Invalid data. Expected a dictionary, but got str.",
        ),
        ({"options": {"tags": [1]}}, 400, "options.tags: must be a string or a list of strings"),
        ({"options": {"tags": ["a\0b"]}}, 400, f"options.tags: {NOT_STORABLE}"),
        ({"options": {"machine": "huge"}}, 400, 'options.machine: "huge" is not a valid choice.'),
        (
            {"options": {"maxAttempts": 0}},
            400,
            "options.maxAttempts: Ensure this value is greater than or equal to 1.",
        ),
        ({"options": {"test": "yes"}}, 400, "options.test: must be true or false"),
        ({"options": {"metadata": [1]}}, 400, "options.metadata: must be a JSON object"),
        ({"options": {"metadata": {"a": "\ud800"}}}, 400, f"options.metadata: {NOT_STORABLE}"),
        ({"options": {"parentRunId": "run_x"}}, 400, "options.parentRunId: is not the id of a run"),
        (
            {"payload": {}, "options": {"payloadType": "application/store"}},
            400,
            "payload must be the path of a stored packet for application/store",
        ),
        ({"options": {"delay": "-5s"}}, 422, f"delay '-5s' {NO_MOMENT}"),
        ({"options": {"delay": "soon"}}, 422, f"delay 'soon' {NO_MOMENT}"),
        ({"options": {"ttl": "-1"}}, 422, "ttl must be between 0 seconds and 10 years"),
        (
            {"options": {"ttl": "later"}},
            422,
            "ttl 'later' is not a duration: write it like 30s, 10m, 1h30m, 7d or 2w",
        ),
        (
            {"options": {"tags": [str(n) for n in range(11)]}},
            422,
            "a run may have 10 tags, this one would have 11",
        ),
        (
            {"options": {"tags": ["x" * 129]}},
            422,
            "a tag has 1 to 128 characters, this one has 129",
        ),
        (
            {"options": {"idempotencyKey": "k" * 2049}},
            422,
            "idempotencyKey has 1 to 2048 characters, this one has 2049",
        ),
        (
            {"options": {"lockToVersion": "20200101.1"}},
            422,
            "there is no version '20200101.1' in this environment",
        ),
        (
            {"options": {"debounce": {"key": "k", "delay": "0s"}}},
            422,
            "debounce.delay is at least 1 second",
        ),
        (
            {"options": {"externalDeploymentId": "d1"}},
            422,
            "options.externalDeploymentId is not supported yet; use lockToVersion",
        ),
    ],
)
def test_bad_input_is_refused_with_the_reason(api, body, status, message):
    answer = api.post(PATH, body)

    assert (answer.status, answer.error) == (status, message)
    assert api.get("/api/v1/runs").ok()["data"] == []


def test_a_payload_that_does_not_fit_its_schema_is_refused_with_each_path(api, acme):
    schema = {
        "type": "object",
        "properties": {"image": {"type": "integer"}, "sizes": {"items": {"type": "integer"}}},
        "required": ["image"],
    }
    scenes.version(acme.scope, {**scenes.TASK, "payloadSchema": schema})

    answer = api.post(PATH, {"payload": {"image": "one", "sizes": [1, "two"]}})

    assert answer.status == 422
    assert sorted(problem["path"] for problem in answer.body["details"]["payload"]) == [
        "$.image",
        "$.sizes[1]",
    ]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nonsense"},
        {"properties": 7},
        {"pattern": "("},
        {"$ref": "http://127.0.0.1:9/elsewhere.json"},
        {"$ref": "#/$defs/missing"},
        {"$ref": "#"},
    ],
)
def test_a_schema_that_cannot_be_used_is_said_to_be_so_and_nothing_is_fetched(api, acme, schema):
    scenes.version(acme.scope, {**scenes.TASK, "payloadSchema": schema})

    answer = api.post(PATH, {"payload": "text"})

    assert answer.status == 422
    assert answer.error.startswith("the payload schema of the task cannot be used: ")


def test_a_long_value_is_not_quoted_whole(api, acme):
    scenes.version(acme.scope, {**scenes.TASK, "payloadSchema": {"type": "integer"}})

    assert len(api.post(PATH, {"payload": "x" * 100_000}).content) < 2_000


def test_a_superjson_payload_is_held_to_the_schema_too(api, acme):
    scenes.version(acme.scope, {**scenes.TASK, "payloadSchema": {"type": "string"}})
    superjson = {"payloadType": "application/super+json"}

    answer = api.post(PATH, {"payload": '{"json":7}', "options": superjson})

    assert answer.status == 422
    assert answer.body["details"]["payload"][0]["path"] == "$"


def test_a_payload_of_3_mib_is_taken_and_one_byte_more_is_not(api):
    text = {"payloadType": "text/plain"}
    limit = 3 * MIB

    assert api.post(PATH, {"payload": "x" * limit, "options": text}).status == 200
    answer = api.post(PATH, {"payload": "x" * (limit + 1), "options": text})
    assert answer.status == 413
    assert answer.error == (
        f"a payload may have {limit} bytes, this one has {limit + 1}; "
        "put large data into object storage and pass its name"
    )


def test_a_body_that_cannot_be_a_payload_is_not_even_parsed(api):
    answer = api.post(PATH, b" " * (8 * MIB))

    assert (answer.status, answer.error) == (413, f"The body may be at most {7 * MIB} bytes")


def test_metadata_over_its_limit_is_too_large(api):
    assert api.post(PATH, {"options": {"metadata": {"x": "y" * 256 * 1024}}}).status == 413


def test_a_run_of_another_tenant_is_no_parent(api, charlie):
    answer = charlie.post(PATH, {"options": {"parentRunId": scenes.run(api)}})

    assert answer.status == 404


def test_another_method_is_405_and_says_which_there_are(api):
    answer = api.get(PATH)

    assert (answer.status, answer.error) == (405, 'Method "GET" not allowed.')
    assert answer.headers["Allow"] == "POST, OPTIONS"


def test_a_path_that_does_not_exist_is_404_in_json(nobody):
    answer = nobody.post("/api/v1/nonsense", {})

    assert (answer.status, answer.error) == (404, "There is no such path in this API")
    assert answer.headers["x-should-retry"] == "false"
