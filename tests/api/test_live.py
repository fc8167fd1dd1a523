"""What only a real server shows: bodies without a length, many callers at once."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest

from tests import factories

PATH = "/api/v1/tasks/resize/trigger"


@pytest.fixture
def caller(web):
    secret = factories.acme().secret
    headers = {"authorization": f"Bearer {secret}"}
    with httpx.Client(base_url=web.url, headers=headers, timeout=60) as caller:
        yield caller


def test_a_body_that_announces_no_length_is_read(caller):
    def parts():
        yield b'{"payload": '
        yield b'{"a": 1}}'

    answer = caller.post(PATH, content=parts())

    run = answer.json()["id"]
    assert answer.request.headers["transfer-encoding"] == "chunked"
    assert caller.get(f"/api/v3/runs/{run}").json()["payload"] == {"a": 1}


def test_items_may_come_in_pieces_of_any_size(caller):
    batch = caller.post("/api/v3/batches", json={"runCount": 3}).json()["id"]
    lines = "\n".join(json.dumps({"index": n, "task": "resize"}) for n in range(3)).encode()

    answer = caller.post(
        f"/api/v3/batches/{batch}/items",
        content=(lines[at : at + 7] for at in range(0, len(lines), 7)),
        headers={"content-type": "application/x-ndjson"},
    )

    assert answer.json()["sealed"] is True


def test_a_slash_in_the_id_of_a_task_survives_the_server(caller):
    run = caller.post("/api/v1/tasks/images%2Fresize%20all/trigger").json()["id"]

    assert caller.get(f"/api/v3/runs/{run}").json()["taskIdentifier"] == "images/resize all"


async def test_one_key_from_many_callers_at_once_is_one_run(web, caller):
    secret = caller.headers["authorization"]
    body = {"options": {"idempotencyKey": "once"}}

    async with httpx.AsyncClient(
        base_url=web.url, headers={"authorization": secret}, timeout=60
    ) as many:
        answers = await asyncio.gather(*(many.post(PATH, json=body) for _ in range(12)))

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum(not answer.json()["isCached"] for answer in answers) == 1


@pytest.fixture
def stranger(caller) -> str:
    """The credential of another tenant."""
    return f"Bearer {factories.globex().secret}"


async def test_callers_at_once_are_each_given_their_own_answer(web, caller, stranger):
    ours = caller.headers["authorization"]
    good, bad = {"payload": 1}, {"options": {"maxAttempts": 0}}
    calls = [
        (ours, good, 200), (stranger, good, 200), ("Bearer tr_prod_unknown", good, 401),
        (ours, bad, 400), (stranger, {"options": {"lockToVersion": "20990101.1"}}, 422),
    ] * 6  # fmt: skip

    async with httpx.AsyncClient(base_url=web.url, timeout=60) as many:
        answers = await asyncio.gather(
            *(many.post(PATH, json=body, headers={"authorization": a}) for a, body, _ in calls)
        )

    assert [answer.status_code for answer in answers] == [status for _, _, status in calls]
    runs = {
        answer.json()["id"]: credential
        for (credential, _, _), answer in zip(calls, answers, strict=True)
        if answer.status_code == 200
    }
    assert len(runs) == 12
    for run, credential in runs.items():
        found = caller.get(f"/api/v3/runs/{run}", headers={"authorization": credential})
        assert found.status_code == 200


@pytest.mark.parametrize(
    ("headers", "content"),
    [
        ({}, b""),
        ({}, b'{"payload": {"a": [1, "\xc3\xa9"]}, "options": {"tags": "x"}}'),
        ({"authorization": ""}, b""),
        ({"authorization": "Basic abc"}, b""),
        ({"authorization": "Bearer tr_prod_unknown"}, b""),
        ({"authorization": "Bearer tr_pat_unknown"}, b""),
        ({"authorization": "Bearer e30.e30.e30"}, b""),
        ({}, b"{"),
        ({}, b"\xff"),
        ({}, b"[1]"),
        ({}, b'{"options": {"tags": 7, "machine": "huge"}}'),
        ({}, b'{"options": {"parentRunId": "run_06ekzj5sn9vkt2v7c5hjf3e8mc"}}'),
        ({}, b'{"options": {"lockToVersion": "20990101.1"}}'),
        ({"idempotency-key": "k" * 3000}, b""),
    ],
)
def test_the_short_way_answers_as_the_long_one_does(caller, headers, content):
    """A browser's call goes through all of Django's layers, a plain one by a shorter way."""
    plain, browsers = (
        caller.post(PATH, content=content, headers={"content-type": "x/y", **headers, **origin})
        for origin in ({}, {"origin": "https://example.com"})
    )

    assert "x-frame-options" not in plain.headers, "it went the long way"
    assert plain.status_code == browsers.status_code
    assert plain.headers["content-type"] == browsers.headers["content-type"]
    for name in ("x-trigger-jwt-claims", "x-should-retry", "www-authenticate", "retry-after"):
        assert plain.headers.get(name) == browsers.headers.get(name)
    bodies = [{**answer.json(), "id": None} for answer in (plain, browsers)]
    assert bodies[0] == bodies[1]


def test_a_large_trigger_goes_the_long_way(caller):
    answer = caller.post(PATH, json={"payload": "x" * 300_000})

    assert answer.status_code == 200
    assert "x-frame-options" in answer.headers
