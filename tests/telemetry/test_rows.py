"""What a record becomes: whose it is, its level, its time, and how much of it is kept."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from apps.core.ids import new_id, public_id
from apps.telemetry.limits import TelemetryLimits
from apps.telemetry.otlp import as_protobuf
from apps.telemetry.rows import NO_RUN, Intake, LogRow, SpanRow, log_row, span_row
from tests.telemetry import exports

RECEIVED = datetime(2026, 11, 24, 12, 0, 1, tzinfo=UTC)
RUN = new_id()
NAME = public_id("run", RUN)


def intake(**limits: int) -> Intake:
    return Intake(
        environment_id=new_id(),
        received_at=RECEIVED,
        digest=b"12345678",
        limits=TelemetryLimits(**limits),
    )


def log_rows(
    *records: LogRecord, limits: dict[str, int] | None = None, **resource: Any
) -> list[LogRow]:
    context = intake(**(limits or {}))
    raw = as_protobuf.logs(exports.logs(*records, **resource).SerializeToString())
    return [log_row(record, index, context) for index, record in enumerate(raw)]


def span_rows(*spans: Span, limits: dict[str, int] | None = None, **resource: Any) -> list[SpanRow]:
    context = intake(**(limits or {}))
    raw = as_protobuf.spans(exports.traces(*spans, **resource).SerializeToString())
    return [span_row(span, context) for span in raw]


@pytest.mark.parametrize(
    ("record", "resource"),
    [
        ({}, {"holdfast__run_id": NAME, "holdfast__attempt": 3}),
        ({"holdfast.run_id": NAME, "holdfast.attempt": 3}, {}),
        ({"$metadata.ctx.run.id": NAME, "$metadata.ctx.attempt.number": 3}, {}),
        ({"ctx.run.id": NAME, "ctx.attempt.number": "3"}, {"holdfast__run_id": "run_other"}),
    ],
)
def test_a_run_is_named_by_the_record_or_else_by_its_resource(record, resource):
    (row,) = log_rows(exports.log("hello", attributes=record), **resource)
    assert (row.run_id, row.attempt) == (RUN, 3)
    assert row.attributes == {}


@pytest.mark.parametrize("name", ["run_short", f"batch_{'0' * 26}", "", 7, True])
def test_a_record_that_names_no_run_is_kept_under_none(name):
    (row,) = log_rows(exports.log("hello"), holdfast__run_id=name)
    assert row.run_id == NO_RUN


@pytest.mark.parametrize("attempt", [-1, 2**16, "many", 1.5])
def test_an_attempt_that_is_no_attempt_is_none(attempt):
    (row,) = log_rows(exports.log("hello"), holdfast__attempt=attempt)
    assert row.attempt == 0


@pytest.mark.parametrize(
    ("severity", "text", "level"),
    [
        (0, "", "INFO"),
        (1, "", "TRACE"),
        (5, "", "DEBUG"),
        (9, "", "INFO"),
        (13, "", "WARN"),
        (17, "", "ERROR"),
        (24, "", "FATAL"),
        (99, "", "FATAL"),
        (9, "log", "LOG"),
        (9, "Warn", "WARN"),
        (17, "catastrophe", "ERROR"),
    ],
)
def test_the_level_is_that_of_the_text_or_else_of_the_number(severity, text, level):
    (row,) = log_rows(exports.log("hello", severity=severity, text=text))
    assert row.level == level


def test_a_line_without_a_time_has_that_of_its_observation_or_of_its_arrival():
    arrival = int(RECEIVED.timestamp()) * 1_000_000_000
    rows = log_rows(
        exports.log("a", time=0, observed=exports.NOON),
        exports.log("b", time=0),
        exports.log("c", time=2**64 - 1),
    )
    assert [row.time for row in rows] == [exports.NOON, arrival, arrival]


def test_lines_of_one_instant_keep_their_order_and_the_same_export_the_same_numbers():
    first = log_rows(*[exports.log(str(n)) for n in range(5)])
    again = log_rows(*[exports.log(str(n)) for n in range(5)])
    numbers = [row.sequence for row in first]
    assert numbers == sorted(set(numbers))
    assert numbers == [row.sequence for row in again]


def test_attributes_are_json_so_that_a_number_and_its_text_differ():
    (row,) = log_rows(exports.log("hello", attributes={"n": 1, "t": "1", "o": {"a": [True]}}))
    assert row.attributes == {"n": "1", "t": '"1"', "o": '{"a":[true]}'}


def test_what_is_too_long_is_cut_and_still_reads_back():
    bounds = {"message_bytes": 100, "value_bytes": 20, "attributes_per_row": 2}
    (row,) = log_rows(
        exports.log("m" * 500, attributes={"a": list(range(50)), "b" * 999: "v" * 99, "c": 1}),
        limits=bounds,
        service__name="s" * 500,
        host__name="h",
    )
    assert len(row.message) == 100
    assert row.message.endswith("…")
    assert len(row.attributes) == 2
    assert all(isinstance(json.loads(value), str) for value in row.attributes.values())
    assert max(map(len, row.attributes)) == 256
    assert isinstance(json.loads(row.resource), dict)


def test_a_structured_body_is_its_json():
    (row,) = log_rows(exports.log({"a": [1, "ü"]}))
    assert row.message == '{"a":[1,"ü"]}'


def test_a_span_that_has_not_ended_is_partial():
    rows = span_rows(
        exports.span("b7ad6b7169203331", end=0),
        exports.span("b7ad6b7169203331", attributes={"holdfast.partial": True}),
        exports.span("b7ad6b7169203331"),
    )
    assert [(row.is_final, row.duration_ns) for row in rows] == [(0, 0), (0, 0), (1, 1_000_000)]


def test_the_partial_copy_of_an_npm_worker_takes_the_id_of_its_span():
    marks = {"$span.partial": True, "$span.span_id": "b7ad6b7169203331", "kept": 1}
    (row,) = span_rows(exports.span("ffffffffffffffff", attributes=marks))
    assert (row.span_id, row.is_final) == ("b7ad6b7169203331", 0)
    assert row.attributes == {"kept": "1"}


def test_a_span_that_ends_before_its_start_lasts_no_time():
    (row,) = span_rows(exports.span("b7ad6b7169203331", end=exports.NOON - 1))
    assert row.duration_ns == 0


def test_a_failed_span_is_an_error_and_others_say_their_level():
    rows = span_rows(
        exports.span("b7ad6b7169203331", status=2, message="broke"),
        exports.span("b7ad6b7169203332", attributes={"holdfast.level": "warn"}),
        exports.span("b7ad6b7169203333", status=77),
    )
    assert [row.level for row in rows] == ["ERROR", "WARN", "TRACE"]
    assert [row.status for row in rows] == ["error", "unset", "unset"]


def test_a_span_without_a_trace_has_the_one_of_its_run():
    untraced = exports.span("b7ad6b7169203331")
    untraced.trace_id = b""
    (row,) = span_rows(untraced, holdfast__run_id=NAME)
    assert row.trace_id == RUN.hex
    (row,) = span_rows(untraced)
    assert row.trace_id == ""
