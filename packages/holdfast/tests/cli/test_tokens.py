"""Tokens from the terminal."""

from __future__ import annotations

from packages.holdfast.tests.cli.conftest import Cli
from packages.holdfast.tests.client.stub import Answer, Stub

PATH = "/api/v1/waitpoints/tokens"
TOKEN = {
    "id": "waitpoint_1",
    "status": "WAITING",
    "url": "http://server/callback",
    "tags": ["order:7"],
    "createdAt": "2026-11-24T12:00:00Z",
    "timeoutAt": "2026-11-25T12:00:00Z",
}


def test_a_token_is_made(cli: Cli, stub: Stub):
    stub.script(Answer(body={"id": "waitpoint_1", "isCached": False, "url": "http://server/cb"}))
    done = cli("tokens", "create", "--timeout", "7d", "--tag", "a", "--idempotency-key", "k")
    assert done.code == 0
    assert "http://server/cb" in done.out
    (request,) = stub.of("POST", PATH)
    assert request.json == {"timeout": "7d", "tags": ["a"], "idempotencyKey": "k"}


def test_tokens_are_listed_by_what_they_are(cli: Cli, stub: Stub):
    stub.script(Answer(body={"data": [TOKEN], "pagination": {}}))
    done = cli("tokens", "list", "--status", "WAITING", "--tag", "order:7", "--limit", "5")
    assert (done.code, "waitpoint_1" in done.out, "order:7" in done.out) == (0, True, True)
    (request,) = stub.of("GET", PATH)
    assert request.query["filter[status]"] == "WAITING"
    assert request.query["page[size]"] == "5"


def test_a_token_is_shown_with_what_it_was_completed_with(cli: Cli, stub: Stub):
    over = {**TOKEN, "status": "COMPLETED", "output": '{"a": 1}', "outputType": "application/json"}
    stub.script(Answer(body=over))
    assert cli("tokens", "show", "waitpoint_1", "--json").json["output"] == {"a": 1}


def test_a_token_is_completed_with_json(cli: Cli, stub: Stub):
    stub.script(Answer(body={"success": True}))
    assert cli("tokens", "complete", "waitpoint_1", "--data", '{"approved": true}').code == 0
    (request,) = stub.of("POST", f"{PATH}/waitpoint_1/complete")
    assert request.json == {
        "data": '{"json":{"approved":true}}', "dataType": "application/super+json",
    }  # fmt: skip


def test_data_that_is_no_json_is_a_usage_error(cli: Cli, stub: Stub):
    assert cli("tokens", "complete", "waitpoint_1", "--data", "{").code == 2
    assert stub.requests == []
