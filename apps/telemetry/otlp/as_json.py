"""OTLP as JSON: ids are hexadecimal, 64-bit integers may be strings, unknown keys are ignored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from apps.telemetry.errors import MalformedExport
from apps.telemetry.otlp import records
from apps.telemetry.otlp.records import Attributes, Event, Link, RawLog, RawSpan, Value

T = TypeVar("T")

_KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
_STATUSES = ("UNSET", "OK", "ERROR")


def _enum(prefix: str, names: tuple[str, ...]) -> BeforeValidator:
    # The protobuf JSON mapping lets a writer choose the number or the name.
    numbers = {f"{prefix}_{name}": number for number, name in enumerate(names)}
    return BeforeValidator(lambda value: numbers.get(value, value))


Nanoseconds = Annotated[int, Field(ge=0, lt=2**64)]
Kind = Annotated[int, _enum("SPAN_KIND", _KINDS)]
StatusCode = Annotated[int, _enum("STATUS_CODE", _STATUSES)]
TraceId = Annotated[str, Field(pattern="^([0-9a-fA-F]{32})?$")]
SpanId = Annotated[str, Field(pattern="^([0-9a-fA-F]{16})?$")]


class AnyValue(TypedDict, total=False):
    stringValue: str
    boolValue: bool
    intValue: int
    doubleValue: float
    bytesValue: str
    arrayValue: ArrayValue
    kvlistValue: KeyValueList


class ArrayValue(TypedDict, total=False):
    values: list[AnyValue]


class KeyValue(TypedDict, total=False):
    key: str
    value: AnyValue | None


class KeyValueList(TypedDict, total=False):
    values: list[KeyValue]


class Attributed(TypedDict, total=False):
    attributes: list[KeyValue]


class Instrumentation(TypedDict, total=False):
    name: str


class SpanEvent(Attributed, total=False):
    timeUnixNano: Nanoseconds
    name: str


class SpanLink(Attributed, total=False):
    traceId: TraceId
    spanId: SpanId


class Status(TypedDict, total=False):
    code: StatusCode
    message: str


class Span(Attributed, total=False):
    traceId: TraceId
    spanId: SpanId
    parentSpanId: SpanId | None
    name: str
    kind: Kind
    startTimeUnixNano: Nanoseconds
    endTimeUnixNano: Nanoseconds
    status: Status
    events: list[SpanEvent]
    links: list[SpanLink]


class LogRecord(Attributed, total=False):
    timeUnixNano: Nanoseconds
    observedTimeUnixNano: Nanoseconds
    severityNumber: int
    severityText: str
    body: AnyValue | None
    traceId: TraceId | None
    spanId: SpanId | None


class ScopeSpans(TypedDict, total=False):
    scope: Instrumentation
    spans: list[Span]


class ScopeLogs(TypedDict, total=False):
    scope: Instrumentation
    logRecords: list[LogRecord]


class ResourceSpans(TypedDict, total=False):
    resource: Attributed
    scopeSpans: list[ScopeSpans]


class ResourceLogs(TypedDict, total=False):
    resource: Attributed
    scopeLogs: list[ScopeLogs]


class TraceExport(TypedDict, total=False):
    resourceSpans: list[ResourceSpans]


class LogExport(TypedDict, total=False):
    resourceLogs: list[ResourceLogs]


class MetricExport(TypedDict, total=False):
    resourceMetrics: list[dict[str, Any]]


_TRACES = TypeAdapter(TraceExport)
_LOGS = TypeAdapter(LogExport)
_METRICS = TypeAdapter(MetricExport)


def spans(body: bytes) -> Iterator[RawSpan]:
    """Every span of a JSON trace export; raises MalformedExport."""
    for group in _parse(_TRACES, body).get("resourceSpans", []):
        resource = _attributes(group.get("resource", {}))
        for scoped in group.get("scopeSpans", []):
            name = scoped.get("scope", {}).get("name", "")
            for span in scoped.get("spans", []):
                yield _span(span, resource, name)


def logs(body: bytes) -> Iterator[RawLog]:
    """Every record of a JSON log export; raises MalformedExport."""
    for group in _parse(_LOGS, body).get("resourceLogs", []):
        resource = _attributes(group.get("resource", {}))
        for scoped in group.get("scopeLogs", []):
            name = scoped.get("scope", {}).get("name", "")
            for log in scoped.get("logRecords", []):
                yield _log(log, resource, name)


def count_points(body: bytes) -> int:
    """How many data points a JSON metric export holds; raises MalformedExport."""
    document = _parse(_METRICS, body)
    return sum(_points(part) for part in document.get("resourceMetrics", []))


def _parse(shape: TypeAdapter[T], body: bytes) -> T:
    try:
        return shape.validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise MalformedExport(f"{where or 'body'}: {first['msg']}") from None


def _span(span: Span, resource: Attributes, instrumentation: str) -> RawSpan:
    status = span.get("status", {})
    return RawSpan(
        resource=resource,
        instrumentation=instrumentation,
        trace_id=span.get("traceId", "").lower(),
        span_id=span.get("spanId", "").lower(),
        parent_span_id=(span.get("parentSpanId") or "").lower(),
        name=span.get("name", ""),
        kind=span.get("kind", 0),
        start_ns=span.get("startTimeUnixNano", 0),
        end_ns=span.get("endTimeUnixNano", 0),
        status=status.get("code", 0),
        status_message=status.get("message", ""),
        attributes=_attributes(span),
        events=[
            Event(event.get("timeUnixNano", 0), event.get("name", ""), _attributes(event))
            for event in span.get("events", [])
        ],
        links=[
            Link(link.get("traceId", "").lower(), link.get("spanId", "").lower(), _attributes(link))
            for link in span.get("links", [])
        ],
    )


def _log(log: LogRecord, resource: Attributes, instrumentation: str) -> RawLog:
    return RawLog(
        resource=resource,
        instrumentation=instrumentation,
        time_ns=log.get("timeUnixNano", 0),
        observed_ns=log.get("observedTimeUnixNano", 0),
        severity=log.get("severityNumber", 0),
        severity_text=log.get("severityText", ""),
        body=_value(log.get("body")),
        trace_id=(log.get("traceId") or "").lower(),
        span_id=(log.get("spanId") or "").lower(),
        attributes=_attributes(log),
    )


def _attributes(holder: Attributed) -> Attributes:
    return _pairs(holder.get("attributes", []))


def _pairs(pairs: list[KeyValue]) -> Attributes:
    return {pair.get("key", ""): _value(pair.get("value")) for pair in pairs}


def _value(value: AnyValue | None) -> Value:
    if not value:
        return None
    if "arrayValue" in value:
        return [_value(item) for item in value["arrayValue"].get("values", [])]
    if "kvlistValue" in value:
        return _pairs(value["kvlistValue"].get("values", []))
    return _scalar(value)


def _scalar(value: AnyValue) -> Value:
    if "stringValue" in value:
        return value["stringValue"]
    if "intValue" in value:
        return value["intValue"]
    if "boolValue" in value:
        return value["boolValue"]
    if "doubleValue" in value:
        return records.number(value["doubleValue"])
    return value.get("bytesValue")


def _points(node: Any) -> int:
    if isinstance(node, list):
        return sum(_points(item) for item in node)
    if not isinstance(node, dict):
        return 0
    return sum(
        len(value) if key == "dataPoints" and isinstance(value, list) else _points(value)
        for key, value in node.items()
    )
