"""What an export says, before we judge it: the same records from JSON and from protobuf."""

from __future__ import annotations

import base64
import math
from typing import NamedTuple

Value = str | int | float | bool | None | list["Value"] | dict[str, "Value"]
Attributes = dict[str, Value]


class Event(NamedTuple):
    """Something that happened during a span."""

    time_ns: int
    name: str
    attributes: Attributes


class Link(NamedTuple):
    """Another span that a span is related to."""

    trace_id: str
    span_id: str
    attributes: Attributes


class RawSpan(NamedTuple):
    """One span of an export."""

    resource: Attributes
    instrumentation: str
    trace_id: str
    span_id: str
    parent_span_id: str
    name: str
    kind: int
    start_ns: int
    end_ns: int
    status: int
    status_message: str
    attributes: Attributes
    events: list[Event]
    links: list[Link]


class RawLog(NamedTuple):
    """One log record of an export."""

    resource: Attributes
    instrumentation: str
    time_ns: int
    observed_ns: int
    severity: int
    severity_text: str
    body: Value
    trace_id: str
    span_id: str
    attributes: Attributes


def number(value: float) -> Value:
    """A float as JSON can carry it: what is not finite becomes its name."""
    return value if math.isfinite(value) else str(value)


def binary(value: bytes) -> str:
    """Bytes as JSON can carry them."""
    return base64.b64encode(value).decode()
