"""Several triggers in one request: each is answered as if it had come alone."""

from __future__ import annotations

import pytest

from tests.api import scenes
from tests.api.client import Api
from tests.api.test_authentication import token_for

PATH = "/api/v1/triggers"
pytestmark = pytest.mark.django_db(transaction=True)


def answers(api, *calls, **headers):
    return api.post(PATH, {"calls": list(calls)}, **headers).ok()["answers"]


def test_each_call_is_answered_by_itself(api, acme):
    scenes.version(acme.scope)
    found = answers(
        api,
        {"task": "resize", "payload": {"n": 1}, "options": {"tags": "x"}},
        {"task": "resize", "options": {"maxAttempts": 0}},
        {"task": "resize", "options": {"lockToVersion": "20990101.1"}},
        {"task": "unheard-of"},
    )

    assert [each["status"] for each in found] == [200, 400, 422, 200]
    assert found[1]["body"]["code"] == "bad_request"
    assert found[2]["body"]["details"] == {"version": ["unknown version"]}
    first, last = (api.get(f"/api/v3/runs/{found[n]['body']['id']}").ok() for n in (0, 3))
    assert (first["payload"], first["tags"]) == ({"n": 1}, ["x"])
    assert last["status"] == "PENDING_VERSION"
    assert len(api.get("/api/v1/runs").ok()["data"]) == 2


def test_a_call_is_told_what_a_request_of_its_own_would_be(api):
    (together,) = answers(api, {"task": "resize"})
    alone = api.post("/api/v1/tasks/resize/trigger")

    assert together["headers"] == {name: alone.headers[name] for name in ("x-trigger-jwt-claims",)}
    assert together["body"].keys() == alone.ok().keys()


def test_each_call_has_keys_of_its_own(api):
    def keyed(name: str, key: str) -> dict:
        return {"task": "resize", "headers": {name: key}}

    request_key, key = "x-trigger-request-idempotency-key", "idempotency-key"
    first = answers(api, keyed(request_key, "a"), keyed(request_key, "b"), keyed(key, "c"))
    again = answers(api, keyed(request_key, "b"), keyed(key, "c"), keyed(request_key, "d"))

    runs = [each["body"]["id"] for each in first]
    assert [each["body"]["id"] for each in again[:2]] == runs[1:]
    assert again[2]["body"]["id"] not in runs
    assert [each["body"]["isCached"] for each in again] == [False, True, False]


def test_a_public_token_is_held_to_its_tasks_call_by_call(api, acme):
    browser = Api(token_for(acme, scopes=["trigger:tasks:resize"]))

    allowed, refused = answers(browser, {"task": "resize"}, {"task": "crop"})

    assert (allowed["status"], refused["status"]) == (200, 403)
    assert "x-trigger-jwt" in allowed["headers"]


def test_headers_of_a_call_cannot_speak_for_another_caller(api, charlie):
    (answer,) = answers(
        charlie, {"task": "resize", "headers": {"authorization": "Bearer tr_prod_other"}}
    )

    assert answer["status"] == 200
    assert api.get(f"/api/v3/runs/{answer['body']['id']}").status == 404


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({}, "calls: a list of triggers is required"),
        ([], "calls: a list of triggers is required"),
        ({"calls": []}, "calls: a list of triggers is required"),
        ({"calls": [{"task": "a"}, {"payload": 1}]}, "calls.1: a task is required"),
        ({"calls": [{"task": 7}]}, "calls.0: a task is required"),
        (
            {"calls": [{"task": "a", "headers": {"traceparent": 1}}]},
            "calls.0.headers: must be strings",
        ),
        ({"calls": [{"task": "a"}] * 1001}, "calls: at most 1000 at once"),
    ],
)
def test_what_is_no_list_of_calls_is_refused_as_a_whole(api, body, problem):
    answer = api.post(PATH, body)

    assert answer.status == 400
    assert answer.error == problem
