"""Rows as ClickHouse keeps them: a raw record, judged, bounded, and put under its environment."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from apps.core import ids
from apps.core.errors import NotFound
from apps.telemetry.limits import TelemetryLimits
from apps.telemetry.otlp.records import Attributes, RawLog, RawSpan, Value

NO_RUN = UUID(int=0)
LEVELS = ("TRACE", "DEBUG", "INFO", "LOG", "WARN", "ERROR", "FATAL")

# The first is what our SDK sends; the others are how the npm worker spells the same.
_RUN_KEYS = ("holdfast.run_id", "$metadata.ctx.run.id", "ctx.run.id")
_ATTEMPT_KEYS = ("holdfast.attempt", "$metadata.ctx.attempt.number", "ctx.attempt.number")
_OWNER_KEYS = frozenset(_RUN_KEYS + _ATTEMPT_KEYS)
_PARTIAL_KEYS = ("holdfast.partial", "$span.partial")
_SPAN_ID_KEY = "$span.span_id"
_LEVEL_KEYS = ("holdfast.level", "$style.level")
_SEVERITIES = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")  # four numbers each, from 1
_KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
_STATUSES = ("unset", "ok", "error")
_MARKER_PREFIXES = ("$metadata.", "$span.")
_KEY_LENGTH = 256
_LATEST_NS = 2**63 - 1
_HIGHEST_ATTEMPT = 2**16 - 1


class SpanRow(NamedTuple):
    """One row of `spans`, in the order of its columns."""

    environment_id: UUID
    run_id: UUID
    attempt: int
    trace_id: str
    span_id: str
    parent_span_id: str
    name: str
    kind: str
    level: str
    start: int
    duration_ns: int
    status: str
    status_message: str
    attributes: dict[str, str]
    events: str
    links: str
    resource: str
    instrumentation: str
    is_final: int
    received_at: int


class LogRow(NamedTuple):
    """One row of `logs`, in the order of its columns."""

    environment_id: UUID
    run_id: UUID
    attempt: int
    time: int
    sequence: int
    level: str
    message: str
    trace_id: str
    span_id: str
    attributes: dict[str, str]
    resource: str
    instrumentation: str
    received_at: int


Row = SpanRow | LogRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """What all rows of one export have in common."""

    environment_id: UUID
    received_at: datetime
    digest: bytes
    limits: TelemetryLimits

    @property
    def received_ms(self) -> int:
        return int(self.received_at.timestamp() * 1000)


def span_row(raw: RawSpan, intake: Intake) -> SpanRow:
    """The row of a span; one that has not ended, or says so, is partial."""
    run_id = _run_id(raw.attributes, raw.resource)
    start = _moment(intake, raw.start_ns)
    span_id = raw.attributes.get(_SPAN_ID_KEY)
    status = _named(_STATUSES, raw.status)
    is_partial = not raw.end_ns or any(raw.attributes.get(key) is True for key in _PARTIAL_KEYS)
    bounds = intake.limits
    return SpanRow(
        environment_id=intake.environment_id,
        run_id=run_id,
        attempt=_attempt(raw.attributes, raw.resource),
        trace_id=raw.trace_id or (run_id.hex if run_id != NO_RUN else ""),
        span_id=span_id if isinstance(span_id, str) else raw.span_id,
        parent_span_id=raw.parent_span_id,
        name=_cut(raw.name, bounds.value_bytes),
        kind=_named(_KINDS, raw.kind),
        level=_span_level(raw.attributes, status),
        start=start,
        duration_ns=0 if is_partial else max(0, raw.end_ns - start),
        status=status,
        status_message=_cut(raw.status_message, bounds.value_bytes),
        attributes=_attributes(raw.attributes, bounds),
        events=_cut_list(
            [
                {
                    "time": _moment(intake, event.time_ns),
                    "name": event.name,
                    "attributes": event.attributes,
                }
                for event in raw.events
            ],
            bounds.message_bytes,
        ),
        links=_cut_list([link._asdict() for link in raw.links], bounds.message_bytes),
        resource=_resource(raw.resource, bounds),
        instrumentation=_cut(raw.instrumentation, bounds.value_bytes),
        is_final=int(not is_partial),
        received_at=intake.received_ms,
    )


def log_row(raw: RawLog, index: int, intake: Intake) -> LogRow:
    """The row of the log record that is number `index` of its export."""
    bounds = intake.limits
    return LogRow(
        environment_id=intake.environment_id,
        run_id=_run_id(raw.attributes, raw.resource),
        attempt=_attempt(raw.attributes, raw.resource),
        time=_moment(intake, raw.time_ns, raw.observed_ns),
        sequence=int.from_bytes(intake.digest[:5], "big") << 24 | index & 0xFFFFFF,
        level=_log_level(raw),
        message=_cut(
            raw.body if isinstance(raw.body, str) else _message(raw.body), bounds.message_bytes
        ),
        trace_id=raw.trace_id,
        span_id=raw.span_id,
        attributes=_attributes(raw.attributes, bounds),
        resource=_resource(raw.resource, bounds),
        instrumentation=_cut(raw.instrumentation, bounds.value_bytes),
        received_at=intake.received_ms,
    )


def _first(keys: Sequence[str], *places: Attributes) -> Value:
    for place in places:
        for key in keys:
            if (found := place.get(key)) is not None:
                return found
    return None


def _run_id(*places: Attributes) -> UUID:
    name = _first(_RUN_KEYS, *places)
    if not isinstance(name, str):
        return NO_RUN
    try:
        return ids.parse_public_id("run", name)
    except NotFound:
        return NO_RUN


def _attempt(*places: Attributes) -> int:
    number = _first(_ATTEMPT_KEYS, *places)
    if isinstance(number, str) and number.isdecimal():
        number = int(number)
    if isinstance(number, int) and 0 <= number <= _HIGHEST_ATTEMPT:
        return int(number)
    return 0


def _moment(intake: Intake, *candidates: int) -> int:
    # A clock that was never set says 0, and ClickHouse's nanoseconds end in the year 2262.
    for candidate in candidates:
        if 0 < candidate <= _LATEST_NS:
            return candidate
    return intake.received_ms * 1_000_000


def _named(names: Sequence[str], number: int) -> str:
    return names[number] if 0 <= number < len(names) else names[0]


def _log_level(raw: RawLog) -> str:
    if (text := raw.severity_text.upper()) in LEVELS:
        return text
    if raw.severity > 0:
        return _SEVERITIES[min((raw.severity - 1) // 4, len(_SEVERITIES) - 1)]
    return "INFO"


def _span_level(attributes: Attributes, status: str) -> str:
    level = _first(_LEVEL_KEYS, attributes)
    if isinstance(level, str) and level.upper() in LEVELS:
        return level.upper()
    return "ERROR" if status == "error" else "TRACE"


def _attributes(attributes: Attributes, limits: TelemetryLimits) -> dict[str, str]:
    kept = {
        key[:_KEY_LENGTH]: _json(value, limits.value_bytes)
        for key, value in attributes.items()
        if not key.startswith(_MARKER_PREFIXES) and key not in _OWNER_KEYS
    }
    if len(kept) > limits.attributes_per_row:
        return dict(list(kept.items())[: limits.attributes_per_row])
    return kept


def _resource(resource: Attributes, limits: TelemetryLimits) -> str:
    kept = [(key, value) for key, value in resource.items() if key not in _OWNER_KEYS]
    while len(text := _dump(dict(kept))) > limits.message_bytes:
        kept = kept[: len(kept) // 2]
    return text


def _message(body: Value) -> str:
    return "" if body is None else _dump(body)


def _json(value: Value, bound: int) -> str:
    text = _dump(value)
    # A cut JSON text is no JSON any more: it is kept as a string of what it began with.
    return text if len(text) <= bound else _dump(_cut(text, bound))


def _cut(text: str, bound: int) -> str:
    return text if len(text) <= bound else text[: bound - 1] + "…"


def _cut_list(items: list[dict[str, Value]], bound: int) -> str:
    """JSON of as many items as fit, so that it can be read back whole."""
    while len(text := _dump(items)) > bound:
        items = items[: len(items) // 2]
    return text


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
