"""Triggering: the bodies of the contract, off-loading, batches."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from holdfast import api_errors
from holdfast.client import BatchItem, HoldfastClient, SyncHoldfastClient, triggers
from holdfast.client.triggers import PORTION_BYTES
from packages.holdfast.tests.client.stub import Answer, Stub


def test_a_trigger_sends_the_payload_as_a_packet(client: SyncHoldfastClient, stub: Stub):
    handle = client.trigger("a/b c", {"n": 1})
    assert handle.id == "run_1"
    assert not handle.is_cached
    assert handle.public_token == "jwt-of-the-run"
    assert stub.requests[0].path == "/api/v1/tasks/a%2Fb%20c/trigger"
    assert stub.requests[0].json == {
        "payload": '{"json":{"n":1}}',
        "options": {"payloadType": "application/super+json", "payloadSize": 16},
    }


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tags": 5}, "tags are texts, not 5"),
        ({"ttl": [1]}, r"a duration is seconds or text such as 10m, not \[1\]"),
        ({"idempotency_key": 7}, "an idempotency key is text, not 7"),
        ({"debounce": "k"}, "debounce is a key and a delay, not 'k'"),
        ({"debounce": {"mode": "leading"}}, "debounce needs a key and a delay"),
        ({"debounce": {"key": "k", "delay": 5, "maxDelay": 9}}, "debounce has no maxDelay"),
    ],
)
def test_an_option_of_the_wrong_kind_is_named(
    client: SyncHoldfastClient, stub: Stub, options, said
):
    with pytest.raises(TypeError, match=said):
        client.trigger("hello", **options)
    assert stub.requests == []


def test_no_payload_is_absent(client: SyncHoldfastClient, stub: Stub):
    client.trigger("hello")
    assert stub.requests[0].json == {
        "options": {"payloadType": "application/json", "payloadSize": 0}
    }


def test_options_travel_under_their_wire_names(client: SyncHoldfastClient, stub: Stub):
    client.trigger(
        "hello",
        queue="emails",
        concurrency_key="alice",
        delay=timedelta(minutes=10),
        ttl="1h",
        tags=["user_1"],
        metadata={"p": 1},
        machine="small-2x",
        max_attempts=2,
        max_duration=60,
        priority=3,
        version="20261124.1",
        test=True,
        parent_run_id="run_p",
        resume_parent=True,
        traceparent="00-aa-bb-01",
        request_key="once",
    )
    request = stub.requests[0]
    assert request.json["options"] == {
        "payloadType": "application/json",
        "payloadSize": 0,
        "queue": {"name": "emails"},
        "concurrencyKey": "alice",
        "delay": "600s",
        "ttl": "1h",
        "tags": ["user_1"],
        "metadata": {"p": 1},
        "machine": "small-2x",
        "maxAttempts": 2,
        "maxDuration": 60,
        "priority": 3,
        "lockToVersion": "20261124.1",
        "test": True,
        "parentRunId": "run_p",
        "resumeParentOnCompletion": True,
    }
    assert request.headers["traceparent"] == "00-aa-bb-01"
    assert request.headers["x-trigger-request-idempotency-key"] == "once"


def test_a_trigger_that_its_parent_waits_for_brings_a_waitpoint(client: SyncHoldfastClient):
    handle = client.trigger("hello", parent_run_id="run_p", resume_parent=True)
    assert handle.waitpoint_id == "waitpoint_run_1"


def test_a_key_travels_hashed_with_its_original(client: SyncHoldfastClient, stub: Stub):
    client.trigger("hello", idempotency_key="order-1", idempotency_key_ttl=60)
    options = stub.requests[0].json["options"]
    assert options["idempotencyKey"] == triggers.idempotency_hash("order-1")
    assert options["idempotencyKeyOptions"] == {"key": "order-1", "scope": "global"}
    assert options["idempotencyKeyTTL"] == "60s"


def test_a_hashed_key_travels_as_it_is(client: SyncHoldfastClient, stub: Stub):
    original = {"key": "order-1", "scope": "run"}
    client.trigger("hello", idempotency_key="ab" * 32, idempotency_key_options=original)
    options = stub.requests[0].json["options"]
    assert options["idempotencyKey"] == "ab" * 32
    assert options["idempotencyKeyOptions"] == original


def test_a_moment_travels_as_a_date(client: SyncHoldfastClient, stub: Stub):
    client.trigger("hello", delay=datetime(2026, 12, 24, tzinfo=UTC))
    assert stub.requests[0].json["options"]["delay"] == "2026-12-24T00:00:00+00:00"


def test_a_negative_duration_is_refused_before_it_is_sent(client: SyncHoldfastClient, stub: Stub):
    with pytest.raises(ValueError, match="negative"):
        client.trigger("hello", delay=timedelta(seconds=-1))
    assert stub.requests == []


def test_a_large_payload_is_off_loaded(client: SyncHoldfastClient, stub: Stub):
    client.trigger("hello", "x" * 131_072)
    place, upload, request = stub.requests
    assert place.path.startswith("/api/v2/packets/trigger%2Fpacket_")
    assert place.path.endswith("%2Fpayload.json")
    assert upload.content == b"x" * 131_072
    assert "authorization" not in upload.headers
    assert upload.headers["content-type"] == "text/plain"
    assert request.json["options"]["payloadType"] == "application/store"
    assert request.json["options"]["payloadSize"] == 131_072
    assert request.json["payload"] in stub.blobs


def test_a_payload_just_below_the_threshold_stays_inline(client: SyncHoldfastClient, stub: Stub):
    client.trigger("hello", "x" * 131_071)
    assert len(stub.requests) == 1


def test_a_batch_is_announced_and_then_sent(client: SyncHoldfastClient, stub: Stub):
    handle = client.batch_trigger(
        [
            BatchItem(task="b", payload={"n": 1}),
            BatchItem(task="a", payload="two", options={"tags": ["t"], "resume_parent": True}),
        ],
        parent_run_id="run_p",
        resume_parent=True,
    )
    announced, sent = stub.requests
    assert handle.id == "batch_1"
    assert handle.run_count == 2
    assert announced.json == {
        "runCount": 2,
        "taskIdentifiers": ["a", "b"],
        "parentRunId": "run_p",
        "resumeParentOnCompletion": True,
    }
    assert sent.headers["content-type"] == "application/x-ndjson"
    assert "x-trigger-request-idempotency-key" not in sent.headers
    assert [json.loads(line) for line in sent.content.splitlines()] == [
        {
            "index": 0,
            "task": "b",
            "payload": '{"json":{"n":1}}',
            "options": {"payloadType": "application/super+json", "payloadSize": 16},
        },
        {
            "index": 1,
            "task": "a",
            "payload": "two",
            "options": {"tags": ["t"], "payloadType": "text/plain", "payloadSize": 3},
        },
    ]


def test_a_batch_that_is_not_sealed_is_sent_again_whole(client: SyncHoldfastClient, stub: Stub):
    stub.sealed_after = 3
    client.batch_trigger([BatchItem(task="a"), BatchItem(task="b")])
    sent = stub.of("POST", "/items$")
    assert len(sent) == 3
    assert len({request.content for request in sent}) == 1


def test_a_large_batch_travels_in_portions(client: SyncHoldfastClient, stub: Stub):
    client.batch_trigger([BatchItem(task="a", payload=n) for n in range(2_201)])
    sent = stub.of("POST", "/items$")
    counts = [len(request.content.splitlines()) for request in sent]
    assert counts == [1_000, 1_000, 201]
    indexes = [json.loads(line)["index"] for r in sent for line in r.content.splitlines()]
    assert indexes == list(range(2_201))


def test_large_items_travel_in_portions_of_a_mebibyte(client: SyncHoldfastClient, stub: Stub):
    client.batch_trigger([BatchItem(task="a", payload="x" * 100_000) for _ in range(25)])
    sizes = [len(request.content) for request in stub.of("POST", "/items$")]
    assert len(sizes) == 3
    assert max(sizes) <= PORTION_BYTES


def test_a_portion_whose_connection_breaks_is_sent_again_alone(
    client: SyncHoldfastClient, stub: Stub
):
    stub.script(
        Answer(status=202, body={"id": "batch_1", "runCount": 2_000, "isCached": False}),
        Answer(body={"id": "batch_1", "sealed": False}),
        Answer(status=None),
        Answer(body={"id": "batch_1", "sealed": True}),
    )
    client.batch_trigger([BatchItem(task="a") for _ in range(2_000)])
    first = [json.loads(r.content.splitlines()[0])["index"] for r in stub.of("POST", "/items$")]
    assert first == [0, 1_000, 1_000]


def test_items_that_are_made_while_they_are_sent_are_never_all_in_memory(
    client: SyncHoldfastClient, stub: Stub
):
    alive: set[int] = set()
    most = 0

    class Tracked(dict[str, int]):
        def __init__(self, n: int) -> None:
            super().__init__(n=n)
            alive.add(id(self))

        def __del__(self) -> None:
            alive.discard(id(self))

    class Lazy:
        def __len__(self) -> int:
            return 3_000

        def __contains__(self, item: object) -> bool:
            return False

        def __iter__(self) -> Iterator[BatchItem]:
            nonlocal most
            for n in range(3_000):
                most = max(most, len(alive))
                yield BatchItem(task="a", payload=Tracked(n))

    client.batch_trigger(Lazy())
    assert len(stub.of("POST", "/items$")) == 3
    assert most < 10


def test_a_known_batch_that_is_not_full_is_filled(client: SyncHoldfastClient, stub: Stub):
    known = {"id": "batch_1", "runCount": 1, "isCached": True, "sealed": False}
    stub.script(Answer(body=known), Answer(body={"id": "batch_1", "sealed": True}))
    client.batch_trigger([BatchItem(task="a")], idempotency_key="k")
    assert len(stub.of("POST", "/items$")) == 1


async def test_a_batch_that_is_never_sealed_is_an_error(async_client: HoldfastClient, stub: Stub):
    stub.sealed_after = 99
    with pytest.raises(api_errors.BatchNotSealedError, match="5 attempts"):
        await async_client.batch_trigger([BatchItem(task="a")])
    assert len(stub.of("POST", "/items$")) == 5


def test_a_known_batch_is_not_sent_again(client: SyncHoldfastClient, stub: Stub):
    stub.script(Answer(body={"id": "batch_old", "runCount": 1, "isCached": True}))
    handle = client.batch_trigger([BatchItem(task="a")], idempotency_key="k")
    assert handle.is_cached
    assert len(stub.requests) == 1


def test_a_batch_can_be_looked_at(client: SyncHoldfastClient):
    handle = client.batch_trigger([BatchItem(task="a"), BatchItem(task="b")])
    batch = client.batches.retrieve(handle.id)
    assert batch.runs == ["run_0", "run_1"]
    assert batch.status == "COMPLETED"


def test_a_key_can_be_forgotten(client: SyncHoldfastClient, stub: Stub):
    client.idempotency_keys.reset("hello", "order-1")
    hashed = triggers.idempotency_hash("order-1")
    assert stub.requests[0].path == f"/api/v1/idempotencyKeys/{hashed}/reset"
    assert stub.requests[0].json == {"taskIdentifier": "hello"}
