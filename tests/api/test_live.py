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
    with httpx.Client(base_url=web.url, headers=headers, timeout=30) as caller:
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

    async with httpx.AsyncClient(base_url=web.url, headers={"authorization": secret}) as many:
        answers = await asyncio.gather(*(many.post(PATH, json=body) for _ in range(12)))

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum(not answer.json()["isCached"] for answer in answers) == 1
