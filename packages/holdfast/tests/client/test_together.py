"""Triggers of one moment travel in one request, and are otherwise what they were."""

from __future__ import annotations

import asyncio

import pytest

from holdfast import api_errors
from holdfast.client import HoldfastClient
from packages.holdfast.tests.client.stub import Answer, Recorded, Stub

KEY = "x-trigger-request-idempotency-key"


def alone(stub: Stub) -> list[Recorded]:
    return stub.of("POST", "/trigger$")


def joined(stub: Stub) -> list[Recorded]:
    return stub.of("POST", "/triggers$")


async def test_triggers_of_one_moment_are_one_request(async_client: HoldfastClient, stub: Stub):
    handles = await asyncio.gather(
        *(
            async_client.trigger(f"task/{n}", n, tags=[f"n{n}"], traceparent=f"t{n}")
            for n in range(5)
        )
    )

    assert [stub.runs[handle.id]["taskIdentifier"] for handle in handles] == [
        f"task/{n}" for n in range(5)
    ]
    assert [handle.public_token for handle in handles] == ["jwt-of-the-run"] * 5
    (request,) = stub.requests
    calls = request.json["calls"]
    assert [call["options"]["tags"] for call in calls] == [[f"n{n}"] for n in range(5)]
    assert [call["headers"]["traceparent"] for call in calls] == [f"t{n}" for n in range(5)]
    assert len({call["headers"][KEY] for call in calls}) == 5
    assert KEY not in request.headers


async def test_a_trigger_alone_travels_as_ever(async_client: HoldfastClient, stub: Stub):
    await async_client.trigger("hello")
    await async_client.trigger("hello")

    assert len(alone(stub)) == 2
    assert not joined(stub)


async def test_a_refusal_is_its_callers_own(async_client: HoldfastClient, stub: Stub):
    refusal = {"error": "payload.n: is no number", "code": "invalid", "details": {"n": ["no"]}}
    stub.refusals["bad"] = [Answer(status=422, body=refusal)]

    first, bad, last = await asyncio.gather(
        *(async_client.trigger(task) for task in ("a", "bad", "b")), return_exceptions=True
    )

    assert isinstance(bad, api_errors.ApiError)
    assert (bad.status, bad.code, bad.details) == (422, "invalid", {"n": ["no"]})
    assert [stub.runs[each.id]["taskIdentifier"] for each in (first, last)] == ["a", "b"]


async def test_one_that_may_be_tried_again_is_under_its_own_key(
    async_client: HoldfastClient, stub: Stub
):
    stub.refusals["busy"] = [Answer(status=503, body={"error": "not now"})]

    await asyncio.gather(*(async_client.trigger(task) for task in ("a", "busy", "b")))

    (first,), (again,) = joined(stub), alone(stub)
    assert again.path == "/api/v1/tasks/busy/trigger"
    assert again.headers[KEY] == first.json["calls"][1]["headers"][KEY]


async def test_a_broken_connection_repeats_the_same_calls(async_client: HoldfastClient, stub: Stub):
    stub.script(Answer(status=None))

    handles = await asyncio.gather(*(async_client.trigger("hello") for _ in range(4)))

    assert len({handle.id for handle in handles}) == len(stub.runs) == 4
    keys = [call["headers"][KEY] for request in joined(stub)[:1] for call in request.json["calls"]]
    repeated = {request.headers[KEY] for request in alone(stub)} | {
        call["headers"][KEY] for request in joined(stub)[1:] for call in request.json["calls"]
    }
    assert repeated == set(keys)


@pytest.mark.parametrize("status", [404, 405, 413])
async def test_a_server_that_does_not_take_them_together_gets_each_alone(
    async_client: HoldfastClient, stub: Stub, status: int
):
    stub.script(Answer(status=status, body={"error": "no"}))

    handles = await asyncio.gather(*(async_client.trigger("hello") for _ in range(3)))

    assert len({handle.id for handle in handles}) == 3
    assert len(alone(stub)) == 3


async def test_large_ones_travel_alone(async_client: HoldfastClient, stub: Stub):
    await asyncio.gather(*(async_client.trigger("hello", "x" * size) for size in (1, 100_000, 1)))

    assert len(alone(stub)) == len(joined(stub)) == 1
    assert len(joined(stub)[0].json["calls"]) == 2


async def test_a_caller_that_gives_up_stops_no_other(async_client: HoldfastClient, stub: Stub):
    calls = [asyncio.ensure_future(async_client.trigger("hello")) for _ in range(3)]
    await asyncio.sleep(0)
    calls[1].cancel()

    first, second, third = await asyncio.gather(*calls, return_exceptions=True)

    assert isinstance(second, asyncio.CancelledError)
    assert first.id != third.id


async def test_callers_with_other_keys_travel_apart(stub: Stub):
    async with (
        HoldfastClient(api_url=stub.url, secret_key="tr_dev_stub") as ours,
        HoldfastClient(api_url=stub.url, secret_key="tr_dev_other") as theirs,
    ):
        outcomes = await asyncio.gather(
            *(client.trigger("hello") for client in (ours, ours, theirs, theirs)),
            return_exceptions=True,
        )

    refused = [isinstance(each, api_errors.AuthenticationError) for each in outcomes]
    assert refused == [False, False, True, True]
