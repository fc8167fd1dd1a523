"""POST /otel/v1/…: who may deliver, what is answered, what bad input gets."""

from __future__ import annotations

import gzip
import json
import zlib
from datetime import timedelta
from typing import Any

import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from apps.core import clock, metrics
from apps.core.ids import new_id, public_id
from apps.environments import public_tokens
from apps.telemetry.buffer import Buffer
from apps.telemetry.errors import StoreDown
from apps.telemetry.limits import TelemetryLimits
from apps.telemetry.operations import intake
from tests import factories
from tests.api.client import Answer, Api
from tests.telemetry import exports
from tests.telemetry.test_store import read

pytestmark = pytest.mark.django_db

PROTOBUF = "application/x-protobuf"
SECONDS = 30
WHY = "a span needs an id, and a trace or a run"


def deliver(api: Api, body: bytes, kind: str = "logs", **headers: str) -> Answer:
    headers = {"content_type": "application/json"} | headers
    return api.post(f"/otel/v1/{kind}", body, **headers)


def one_line(message: str = "hello", **resource: Any) -> bytes:
    return exports.as_json(exports.logs(exports.log(message), **resource))


def test_a_json_export_is_answered_with_an_empty_object(api):
    answer = deliver(api, one_line())
    assert (answer.status, answer.content) == (200, b"{}")
    assert answer.headers["content-type"] == "application/json"


def test_a_protobuf_export_is_answered_in_protobuf(api):
    export = exports.traces(exports.span("b7ad6b7169203331")).SerializeToString()
    answer = deliver(api, export, "traces", content_type=PROTOBUF)
    assert (answer.status, answer.headers["content-type"]) == (200, PROTOBUF)
    assert ExportTraceServiceResponse.FromString(answer.content) == ExportTraceServiceResponse()


@pytest.mark.parametrize("kind", ["json", "protobuf"])
def test_both_encodings_and_gzip_end_in_the_same_rows(api, acme, clickhouse, kind):
    run = new_id()
    export = exports.logs(
        exports.log("one", attributes={"n": 1}),
        exports.log("two", time=exports.NOON + 1),
        holdfast__run_id=public_id("run", run),
    )
    body, content = (
        (exports.as_json(export), "application/json")
        if kind == "json"
        else (export.SerializeToString(), PROTOBUF)
    )
    answer = deliver(
        api, gzip.compress(body, mtime=0), content_type=content, content_encoding="gzip"
    )
    assert answer.status == 200
    assert intake.buffer().flush(SECONDS)
    assert read(clickhouse, run, environment=acme.production.id) == ["one", "two"]


def test_charlies_rows_never_land_in_acme_whatever_they_say(api, charlie, acme, clickhouse):
    run = new_id()
    claimed = {
        "holdfast__run_id": public_id("run", run),
        "holdfast__environment_id": str(acme.production.id),
        "ctx__environment__id": public_id("env", acme.production.id),
    }
    assert deliver(charlie, one_line("forged", **claimed)).status == 200
    assert intake.buffer().flush(SECONDS)
    assert read(clickhouse, run, environment=acme.production.id) == []
    assert read(clickhouse, run, environment=factories.globex().production.id) == ["forged"]


def test_a_span_without_ids_is_rejected_and_the_rest_is_taken(api):
    broken = exports.span("b7ad6b7169203331")
    broken.span_id = b""
    export = exports.traces(exports.span("b7ad6b7169203332"), broken)
    answer = deliver(api, exports.as_json(export), "traces")
    assert answer.status == 200
    assert answer.body == {"partialSuccess": {"rejectedSpans": "1", "errorMessage": WHY}}


def test_metrics_are_counted_and_honestly_rejected(api):
    before = metrics.telemetry_rejected.labels(kind="metrics")._value.get()
    answer = deliver(api, exports.points(3).SerializeToString(), "metrics", content_type=PROTOBUF)
    assert answer.status == 200
    said = ExportMetricsServiceResponse.FromString(answer.content).partial_success
    assert (said.rejected_data_points, said.error_message) == (3, "metrics are not stored")
    assert metrics.telemetry_rejected.labels(kind="metrics")._value.get() - before == 3
    assert deliver(api, b"{}", "metrics").body == {}


def test_a_stranger_is_refused_with_a_status(nobody):
    answer = deliver(nobody, one_line())
    assert (answer.status, answer.body["code"]) == (401, 16)
    assert answer.headers["www-authenticate"] == "Bearer"
    answer = deliver(nobody, b"x", content_type=PROTOBUF)
    assert Status.FromString(answer.content).code == 16


def test_a_public_token_or_a_person_may_not_deliver(acme, alice):
    token = public_tokens.sign(
        acme.production.id,
        ["read:runs", "write:runs"],
        lifetime=timedelta(hours=1),
        now=clock.now(),
    )
    assert deliver(Api(token), one_line()).status in {401, 403}
    assert deliver(alice, one_line()).status == 401


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"nonsense", {}, 400, 3),
        (b'{"resourceLogs": [{"scopeLogs": 1}]}', {}, 400, 3),
        (b"{}", {"content_type": "text/plain"}, 415, 3),
        (b"{}", {"content_encoding": "br"}, 415, 3),
        (b"{}", {"content_encoding": "gzip"}, 400, 3),
        (gzip.compress(b"{}", mtime=0)[:-4], {"content_encoding": "gzip"}, 400, 3),
        (gzip.compress(b"{}", mtime=0) + b"more", {"content_encoding": "gzip"}, 400, 3),
        (b" " * (4 * 1024 * 1024 + 1), {}, 413, 8),
    ],
)
def test_bad_input_is_refused_with_a_status(api, body, headers, status, code):
    answer = deliver(api, body, **headers)
    assert (answer.status, answer.body["code"]) == (status, code)
    assert answer.body["message"]


def test_a_gzip_bomb_is_too_large_and_is_not_unpacked(api):
    packer = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
    zeros = bytes(1024 * 1024)
    bomb = b"".join(packer.compress(zeros) for _ in range(64)) + packer.flush()
    answer = deliver(api, bomb, content_encoding="gzip")
    assert (answer.status, answer.body["code"]) == (413, 8)


def test_malformed_protobuf_is_refused_in_protobuf(api):
    answer = deliver(api, b"nonsense", content_type=PROTOBUF)
    assert (answer.status, answer.headers["content-type"]) == (400, PROTOBUF)
    assert Status.FromString(answer.content).code == 3


def test_other_methods_are_not_allowed(api):
    answer = api.get("/otel/v1/logs")
    assert answer.status == 405
    assert "POST" in answer.headers["allow"]


def test_intake_answers_at_once_while_clickhouse_is_away(api, monkeypatch):
    def away(table: str, rows: object) -> None:
        raise StoreDown("away")

    small = Buffer(write=away, limits=TelemetryLimits(buffer_rows=50, flush_milliseconds=1))
    monkeypatch.setattr(intake, "buffer", lambda: small)
    for number in range(100):
        assert deliver(api, one_line(f"line {number}")).status == 200
    assert small.buffered_rows <= 50
    small.close(timeout=0)


def test_the_shape_that_our_worker_sends_by_hand(api, acme, clickhouse):
    run = new_id()
    body = {
        "resourceLogs": [
            {
                "resource": {
                    "attributes": [
                        {
                            "key": "holdfast.run_id",
                            "value": {"stringValue": public_id("run", run)},
                        },
                        {"key": "holdfast.attempt", "value": {"intValue": 1}},
                    ]
                },
                "scopeLogs": [
                    {
                        "logRecords": [
                            {
                                "timeUnixNano": str(exports.NOON),
                                "severityNumber": 9,
                                "severityText": "INFO",
                                "body": {"stringValue": "by hand"},
                            }
                        ]
                    }
                ],
            }
        ]
    }
    assert deliver(api, json.dumps(body).encode()).status == 200
    assert intake.buffer().flush(SECONDS)
    assert read(clickhouse, run, environment=acme.production.id) == ["by hand"]
