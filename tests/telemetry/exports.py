"""OTLP exports for tests: built once as protobuf, spelled as JSON when that is wanted."""

from __future__ import annotations

import base64
import json
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import (
    AnyValue,
    ArrayValue,
    InstrumentationScope,
    KeyValue,
    KeyValueList,
)
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

NOON = 1_795_521_600_000_000_000  # 2026-11-24T12:00:00Z
TRACE = "0af7651916cd43dd8448eb211c80319c"
_IDS = {"traceId", "spanId", "parentSpanId"}


def value(plain: Any) -> AnyValue:
    """A Python value as OTLP says it."""
    match plain:
        case None:
            return AnyValue()
        case bool():
            return AnyValue(bool_value=plain)
        case int():
            return AnyValue(int_value=plain)
        case float():
            return AnyValue(double_value=plain)
        case bytes():
            return AnyValue(bytes_value=plain)
        case str():
            return AnyValue(string_value=plain)
        case list():
            return AnyValue(array_value=ArrayValue(values=[value(item) for item in plain]))
        case _:
            return AnyValue(kvlist_value=KeyValueList(values=pairs(plain)))


def pairs(attributes: dict[str, Any]) -> list[KeyValue]:
    """Attributes as OTLP says them."""
    return [KeyValue(key=key, value=value(plain)) for key, plain in attributes.items()]


def log(
    message: Any,
    *,
    time: int = NOON,
    severity: int = 9,
    text: str = "",
    span: str = "",
    attributes: dict[str, Any] | None = None,
    observed: int = 0,
) -> LogRecord:
    """A log record."""
    return LogRecord(
        time_unix_nano=time,
        observed_time_unix_nano=observed,
        severity_number=severity,  # type: ignore[arg-type]
        severity_text=text,
        body=value(message),
        trace_id=bytes.fromhex(TRACE),
        span_id=bytes.fromhex(span),
        attributes=pairs(attributes or {}),
    )


def span(
    span_id: str,
    name: str = "work",
    *,
    parent: str = "",
    start: int = NOON,
    end: int = NOON + 1_000_000,
    attributes: dict[str, Any] | None = None,
    status: int = 0,
    message: str = "",
    events: list[Span.Event] | None = None,
    links: list[Span.Link] | None = None,
) -> Span:
    """A span."""
    return Span(
        trace_id=bytes.fromhex(TRACE),
        span_id=bytes.fromhex(span_id),
        parent_span_id=bytes.fromhex(parent),
        name=name,
        kind=Span.SPAN_KIND_INTERNAL,
        start_time_unix_nano=start,
        end_time_unix_nano=end,
        attributes=pairs(attributes or {}),
        status=Status(code=status, message=message),  # type: ignore[arg-type]
        events=events or [],
        links=links or [],
    )


def logs(*records: LogRecord, **resource: Any) -> ExportLogsServiceRequest:
    """An export of log records."""
    scoped = ScopeLogs(scope=InstrumentationScope(name="holdfast"), log_records=records)
    group = ResourceLogs(resource=_resource(resource), scope_logs=[scoped])
    return ExportLogsServiceRequest(resource_logs=[group])


def traces(*spans: Span, **resource: Any) -> ExportTraceServiceRequest:
    """An export of spans."""
    scoped = ScopeSpans(scope=InstrumentationScope(name="holdfast"), spans=spans)
    group = ResourceSpans(resource=_resource(resource), scope_spans=[scoped])
    return ExportTraceServiceRequest(resource_spans=[group])


def points(count: int) -> ExportMetricsServiceRequest:
    """An export of a gauge's data points."""
    export = ExportMetricsServiceRequest()
    metric = export.resource_metrics.add().scope_metrics.add().metrics.add(name="load")
    for _ in range(count):
        metric.gauge.data_points.add(as_int=1, time_unix_nano=NOON)
    return export


def as_json(export: Message) -> bytes:
    """An export as OTLP spells it in JSON: as protobuf does, but with hexadecimal ids."""
    return json.dumps(_hexadecimal(MessageToDict(export, use_integers_for_enums=True))).encode()


def _hexadecimal(node: Any) -> Any:
    if isinstance(node, list):
        return [_hexadecimal(item) for item in node]
    if isinstance(node, dict):
        return {
            key: base64.b64decode(item).hex() if key in _IDS else _hexadecimal(item)
            for key, item in node.items()
        }
    return node


def _resource(attributes: dict[str, Any]) -> Resource:
    # Keyword arguments cannot have dots: holdfast__run_id is holdfast.run_id.
    named = {key.replace("__", "."): plain for key, plain in attributes.items()}
    return Resource(attributes=pairs(named))
