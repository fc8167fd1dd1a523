"""JSON and protobuf exports decode to the same records, and nonsense to one clear refusal."""

from __future__ import annotations

import json

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from apps.telemetry.errors import MalformedExport
from apps.telemetry.otlp import as_json, as_protobuf
from tests.telemetry import exports

EVERYTHING = {
    "text": "ünïcode ✓",
    "int": -(2**63),
    "float": 1.5,
    "nan": float("nan"),
    "yes": True,
    "nothing": None,
    "bytes": b"\x00\xff",
    "list": [1, "two", [3.0], {"four": 4}],
    "nested": {"a": {"b": [None, False]}},
}


def test_json_and_protobuf_logs_are_the_same_records():
    export = exports.logs(
        exports.log("first", attributes=EVERYTHING, span="b7ad6b7169203331"),
        exports.log({"a": [1, 2]}, severity=17, text="Error", observed=exports.NOON + 5),
        holdfast__run_id="run_x",
        service__name="shop",
    )
    from_protobuf = list(as_protobuf.logs(export.SerializeToString()))
    assert from_protobuf == list(as_json.logs(exports.as_json(export)))
    assert [record.body for record in from_protobuf] == ["first", {"a": [1, 2]}]
    assert from_protobuf[0].attributes == EVERYTHING | {"nan": "nan", "bytes": "AP8="}
    assert from_protobuf[0].resource == {"holdfast.run_id": "run_x", "service.name": "shop"}


def test_json_and_protobuf_spans_are_the_same_records():
    event = Span.Event(
        time_unix_nano=exports.NOON + 1, name="cache miss", attributes=exports.pairs(EVERYTHING)
    )
    link = Span.Link(trace_id=bytes(16), span_id=bytes(8), attributes=exports.pairs({"a": 1}))
    export = exports.traces(
        exports.span("b7ad6b7169203331", "outer", attributes=EVERYTHING),
        exports.span(
            "b7ad6b7169203332",
            "inner",
            parent="b7ad6b7169203331",
            status=2,
            message="broke",
            events=[event],
            links=[link],
        ),
        holdfast__attempt=2,
    )
    from_protobuf = list(as_protobuf.spans(export.SerializeToString()))
    assert from_protobuf == list(as_json.spans(exports.as_json(export)))
    assert from_protobuf[1].parent_span_id == "b7ad6b7169203331"
    assert from_protobuf[1].events[0].name == "cache miss"
    assert from_protobuf[1].status == 2


def test_json_and_protobuf_count_the_same_data_points():
    export = exports.points(7)
    assert as_protobuf.count_points(export.SerializeToString()) == 7
    assert as_json.count_points(exports.as_json(export)) == 7


def test_json_may_spell_enums_by_name_and_integers_as_numbers():
    body = {
        "resourceSpans": [
            {
                "scopeSpans": [
                    {
                        "spans": [
                            {
                                "traceId": exports.TRACE.upper(),
                                "spanId": "B7AD6B7169203331",
                                "kind": "SPAN_KIND_SERVER",
                                "startTimeUnixNano": exports.NOON,
                                "endTimeUnixNano": str(exports.NOON),
                                "status": {"code": "STATUS_CODE_ERROR"},
                                "somethingNew": {"ignored": True},
                            }
                        ]
                    }
                ]
            }
        ]
    }
    (span,) = as_json.spans(json.dumps(body).encode())
    assert (span.kind, span.status, span.start_ns) == (2, 2, exports.NOON)
    assert (span.trace_id, span.span_id) == (exports.TRACE, "b7ad6b7169203331")


@pytest.mark.parametrize("body", [b"{}", b'{"resourceLogs": []}', b'{"resourceLogs": [{}]}'])
def test_an_empty_json_export_has_no_records(body):
    assert list(as_json.logs(body)) == []


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b"", "body"),
        (b"not json", "body"),
        (b"[]", "body"),
        (b'{"resourceLogs": 3}', "resourceLogs"),
        (b'{"resourceLogs": [{"scopeLogs": [{"logRecords": [7]}]}]}', "logRecords.0"),
        (b'{"resourceLogs": [{"scopeLogs": [{"logRecords": [{"timeUnixNano": "x"}]}]}]}', "time"),
        (b'{"resourceLogs": [{"scopeLogs": [{"logRecords": [{"timeUnixNano": -1}]}]}]}', "time"),
        (b'{"resourceLogs": [{"scopeLogs": [{"logRecords": [{"traceId": "xyz"}]}]}]}', "traceId"),
        (b'{"resourceLogs": [{"resource": {"attributes": [{"key": 1}]}}]}', "attributes.0.key"),
        (b'{"resourceLogs": "\xff\xfe"}', "body"),
        (b'{"resourceLogs": [{"schemaUrl": "\\ud800"}]}', "body"),
        (b'{"a":' * 10_000, "body"),
    ],
)
def test_malformed_json_says_where(body, where):
    with pytest.raises(MalformedExport, match=where):
        list(as_json.logs(body))


@pytest.mark.parametrize("body", [b"\xff\xff\xff", b"not protobuf", b'{"resourceLogs": []}'])
def test_malformed_protobuf_is_refused(body):
    with pytest.raises(MalformedExport, match="body"):
        list(as_protobuf.logs(body))


def test_a_value_nested_without_end_is_refused_or_kept_but_never_a_crash():
    value = b'{"arrayValue":{"values":[' * 5_000 + b"{}" + b"]}}" * 5_000
    body = b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":' + value + b"}]}]}]}"
    with pytest.raises(MalformedExport):
        list(as_json.logs(body))
