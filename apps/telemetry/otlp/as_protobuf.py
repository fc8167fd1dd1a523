"""OTLP as protobuf, by the message classes that the OpenTelemetry project publishes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from apps.telemetry.errors import MalformedExport
from apps.telemetry.otlp import records
from apps.telemetry.otlp.records import Attributes, Event, Link, RawLog, RawSpan, Value

M = TypeVar("M", bound=Message)


def spans(body: bytes) -> Iterator[RawSpan]:
    """Every span of a protobuf trace export; raises MalformedExport."""
    for group in _parse(ExportTraceServiceRequest, body).resource_spans:
        resource = _pairs(group.resource.attributes)
        for scoped in group.scope_spans:
            for span in scoped.spans:
                yield _span(span, resource, scoped.scope.name)


def logs(body: bytes) -> Iterator[RawLog]:
    """Every record of a protobuf log export; raises MalformedExport."""
    for group in _parse(ExportLogsServiceRequest, body).resource_logs:
        resource = _pairs(group.resource.attributes)
        for scoped in group.scope_logs:
            for log in scoped.log_records:
                yield _log(log, resource, scoped.scope.name)


def count_points(body: bytes) -> int:
    """How many data points a protobuf metric export holds; raises MalformedExport."""
    return sum(
        _points(metric)
        for group in _parse(ExportMetricsServiceRequest, body).resource_metrics
        for scoped in group.scope_metrics
        for metric in scoped.metrics
    )


def _parse(kind: type[M], body: bytes) -> M:
    try:
        return kind.FromString(body)
    except DecodeError:
        raise MalformedExport(f"body: not a {kind.__name__} message") from None


def _span(span: Span, resource: Attributes, instrumentation: str) -> RawSpan:
    return RawSpan(
        resource=resource,
        instrumentation=instrumentation,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_span_id=span.parent_span_id.hex(),
        name=span.name,
        kind=span.kind,
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        status=span.status.code,
        status_message=span.status.message,
        attributes=_pairs(span.attributes),
        events=[
            Event(event.time_unix_nano, event.name, _pairs(event.attributes))
            for event in span.events
        ],
        links=[
            Link(link.trace_id.hex(), link.span_id.hex(), _pairs(link.attributes))
            for link in span.links
        ],
    )


def _log(log: LogRecord, resource: Attributes, instrumentation: str) -> RawLog:
    return RawLog(
        resource=resource,
        instrumentation=instrumentation,
        time_ns=log.time_unix_nano,
        observed_ns=log.observed_time_unix_nano,
        severity=log.severity_number,
        severity_text=log.severity_text,
        body=_value(log.body),
        trace_id=log.trace_id.hex(),
        span_id=log.span_id.hex(),
        attributes=_pairs(log.attributes),
    )


def _pairs(pairs: Iterable[KeyValue]) -> Attributes:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Value:
    match value.WhichOneof("value"):
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "int_value":
            return value.int_value
        case "double_value":
            return records.number(value.double_value)
        case "bytes_value":
            return records.binary(value.bytes_value)
        case "array_value":
            return [_value(item) for item in value.array_value.values]
        case "kvlist_value":
            return _pairs(value.kvlist_value.values)
        case _:
            return None


def _points(metric: Metric) -> int:
    kind = metric.WhichOneof("data")
    return len(getattr(metric, kind).data_points) if kind else 0
