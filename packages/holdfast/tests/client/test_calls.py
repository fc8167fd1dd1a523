"""Every call: what is sent, when it is sent again, and what an answer that is no result means."""

from __future__ import annotations

import json
import logging
import time

import httpx
import pytest

from holdfast import api_errors
from holdfast._http import Retry
from holdfast.client import HoldfastClient, SyncHoldfastClient
from packages.holdfast.tests.client.stub import SECRET_KEY, Answer, Stub


def test_a_call_carries_the_key_the_api_version_and_a_request_key(
    client: SyncHoldfastClient, stub: Stub
):
    client.trigger("hello", {"a": 1})
    headers = stub.requests[0].headers
    assert headers["authorization"] == f"Bearer {SECRET_KEY}"
    assert headers["x-trigger-api-version"] == "2025-07-16"
    assert headers["x-trigger-source"] == "sdk"
    assert headers["content-type"] == "application/json"
    assert len(headers["x-trigger-request-idempotency-key"]) == 36


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
def test_a_temporary_failure_is_tried_again_under_the_same_request_key(
    client: SyncHoldfastClient, stub: Stub, status: int
):
    stub.script(Answer(status=status, body={"error": "later"}))
    assert client.trigger("hello").id == "run_1"
    keys = {r.headers["x-trigger-request-idempotency-key"] for r in stub.requests}
    assert len(stub.requests) == 2
    assert len(keys) == 1


def test_two_logical_calls_have_two_request_keys(client: SyncHoldfastClient, stub: Stub):
    client.trigger("hello")
    client.trigger("hello")
    keys = {r.headers["x-trigger-request-idempotency-key"] for r in stub.requests}
    assert len(keys) == 2


def test_a_broken_connection_is_tried_again(client: SyncHoldfastClient, stub: Stub):
    stub.script(Answer(status=None), Answer(status=None))
    assert client.trigger("hello").id == "run_1"
    assert len(stub.requests) == 3


async def test_the_async_client_tries_again_too(async_client: HoldfastClient, stub: Stub):
    stub.script(Answer(status=500, body={}), Answer(status=None))
    assert (await async_client.trigger("hello")).id == "run_1"
    assert len(stub.requests) == 3


def test_five_tries_are_all(client: SyncHoldfastClient, stub: Stub):
    stub.script(*[Answer(status=500, body={"error": "broken"})] * 9)
    with pytest.raises(api_errors.ServerError, match="broken") as caught:
        client.trigger("hello")
    assert caught.value.status == 500
    assert len(stub.requests) == 5


def test_patience_goes_on_after_the_attempts(stub: Stub):
    retry = Retry(attempts=1, base_seconds=0.001, longest_seconds=0.002, patience_seconds=60)
    stub.script(*[Answer(status=503, body={})] * 20)
    with SyncHoldfastClient(api_url=stub.url, secret_key=SECRET_KEY, retry=retry) as client:
        assert client.trigger("hello").id == "run_1"
    assert len(stub.requests) == 21


def test_the_server_can_forbid_another_try(client: SyncHoldfastClient, stub: Stub):
    stub.script(Answer(status=409, body={"error": "no"}, headers={"x-should-retry": "false"}))
    with pytest.raises(api_errors.ConflictError):
        client.trigger("hello")
    assert len(stub.requests) == 1


def test_the_server_can_ask_for_another_try(client: SyncHoldfastClient, stub: Stub):
    stub.add_run("run_x")
    stub.script(Answer(status=404, body={"error": "lag"}, headers={"x-should-retry": "true"}))
    assert client.runs.retrieve("run_x").id == "run_x"
    assert len(stub.requests) == 2


@pytest.mark.parametrize("unit", [1, 1000], ids=["seconds", "milliseconds"])
def test_a_rate_limit_is_waited_for_until_it_resets(
    client: SyncHoldfastClient, stub: Stub, unit: int
):
    reset = time.time() + 0.2
    headers = {"x-ratelimit-reset": str(reset * unit)}
    stub.script(Answer(status=429, body={"error": "slow down"}, headers=headers))
    client.trigger("hello")
    assert time.time() >= reset


def test_a_rate_limit_that_resets_far_away_is_raised(client: SyncHoldfastClient, stub: Stub):
    stub.script(Answer(status=429, body={"error": "slow"}, headers={"retry-after": "7200"}))
    with pytest.raises(api_errors.RateLimitError, match="slow"):
        client.trigger("hello")
    assert len(stub.requests) == 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, api_errors.BadRequestError),
        (401, api_errors.AuthenticationError),
        (403, api_errors.PermissionDeniedError),
        (404, api_errors.NotFoundError),
        (413, api_errors.PayloadTooLargeError),
        (418, api_errors.ApiError),
        (422, api_errors.UnprocessableError),
    ],
)
def test_a_refusal_is_an_error_of_its_own_class_and_not_tried_again(
    client: SyncHoldfastClient, stub: Stub, status: int, kind: type[api_errors.ApiError]
):
    body = {"error": "No", "code": "invalid", "details": {"payload.a": ["must be a number"]}}
    stub.script(Answer(status=status, body=body))
    with pytest.raises(api_errors.ApiError) as caught:
        client.trigger("hello")
    assert type(caught.value) is kind
    assert caught.value.message == "No"
    assert caught.value.code == "invalid"
    assert caught.value.details == {"payload.a": ["must be a number"]}
    assert len(stub.requests) == 1


def test_an_error_object_is_understood(client: SyncHoldfastClient, stub: Stub):
    stub.script(Answer(status=403, body={"error": {"message": "No", "code": "unauthorized"}}))
    with pytest.raises(api_errors.PermissionDeniedError, match="No") as caught:
        client.trigger("hello")
    assert caught.value.code == "unauthorized"


def test_an_error_that_is_no_json_keeps_its_status(client: SyncHoldfastClient, stub: Stub):
    stub.script(Answer(status=404, body=b"<html>"))
    with pytest.raises(api_errors.NotFoundError, match="404 Not Found"):
        client.trigger("hello")


def test_an_answer_that_is_no_json_says_so(client: SyncHoldfastClient, stub: Stub):
    stub.script(Answer(body=b"<html>"))
    with pytest.raises(api_errors.MalformedAnswerError, match="Holdfast server"):
        client.trigger("hello")


def test_an_answer_of_another_shape_names_the_field(client: SyncHoldfastClient, stub: Stub):
    stub.script(Answer(body={"isCached": False}))
    with pytest.raises(api_errors.MalformedAnswerError, match="id: "):
        client.trigger("hello")


def test_no_server_is_a_connection_error_that_names_the_address():
    retry = Retry(attempts=2, base_seconds=0.001)
    with (
        SyncHoldfastClient(api_url="http://127.0.0.1:9", secret_key="k", retry=retry) as client,
        pytest.raises(api_errors.ApiConnectionError, match=r"http://127\.0\.0\.1:9"),
    ):
        client.trigger("hello")


def test_a_call_without_credentials_says_what_to_set(stub: Stub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("HOLDFAST_SECRET_KEY", raising=False)
    monkeypatch.delenv("HOLDFAST_ACCESS_TOKEN", raising=False)
    with (
        SyncHoldfastClient(api_url=stub.url) as client,
        pytest.raises(api_errors.MissingCredentialsError, match="HOLDFAST_SECRET_KEY"),
    ):
        client.trigger("hello")
    assert stub.requests == []


def test_the_environment_gives_address_and_key(stub: Stub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOLDFAST_API_URL", f"{stub.url}/")
    monkeypatch.setenv("HOLDFAST_SECRET_KEY", SECRET_KEY)
    with SyncHoldfastClient() as client:
        assert client.trigger("hello").id == "run_1"


def test_an_address_without_a_scheme_is_refused():
    with pytest.raises(ValueError, match="http://"):
        SyncHoldfastClient(api_url="127.0.0.1:8000")


def test_the_key_is_not_shown_by_repr(client: SyncHoldfastClient):
    assert SECRET_KEY not in repr(client._settings)


def test_both_clients_have_the_same_documented_operations(
    client: SyncHoldfastClient, async_client: HoldfastClient
):
    for group in ("runs", "batches", "variables", "deployments", "account"):
        theirs, ours = getattr(async_client, group), getattr(client, group)
        names = [name for name in dir(ours) if not name.startswith("_")]
        assert names == [name for name in dir(theirs) if not name.startswith("_")]
        assert all(getattr(ours, name).__doc__ for name in names)


async def test_our_own_calls_are_not_in_the_log_of_a_task(
    client: SyncHoldfastClient,
    async_client: HoldfastClient,
    stub: Stub,
    caplog: pytest.LogCaptureFixture,
):
    caplog.set_level(logging.INFO)
    client.trigger("hello")
    await async_client.trigger("hello")
    assert caplog.records == []
    async with httpx.AsyncClient() as of_the_task:
        await of_the_task.get(stub.url)
    assert [record.name for record in caplog.records] == ["httpx"]


def test_json_travels_as_utf_8(client: SyncHoldfastClient, stub: Stub):
    client.trigger("hello", "grüße")
    assert json.loads(stub.requests[0].content.decode("utf-8"))["payload"] == "grüße"
