"""Taking OTLP exports in: decode, put under the caller's environment, leave in the buffer."""

from __future__ import annotations

import atexit
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache

from apps.core import metrics
from apps.environments.scope import Scope
from apps.telemetry.buffer import Buffer
from apps.telemetry.limits import limits
from apps.telemetry.otlp import as_json, as_protobuf
from apps.telemetry.otlp.records import RawLog, RawSpan
from apps.telemetry.rows import Intake, Row, log_row, span_row
from apps.telemetry.store import store


class Encoding(StrEnum):
    """How an export is written."""

    JSON = "json"
    PROTOBUF = "protobuf"


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What became of an export; `message` says why rows were rejected."""

    accepted: int
    rejected: int = 0
    message: str = ""


_SPANS: dict[Encoding, Callable[[bytes], Iterator[RawSpan]]] = {
    Encoding.JSON: as_json.spans,
    Encoding.PROTOBUF: as_protobuf.spans,
}
_LOGS: dict[Encoding, Callable[[bytes], Iterator[RawLog]]] = {
    Encoding.JSON: as_json.logs,
    Encoding.PROTOBUF: as_protobuf.logs,
}
_POINTS: dict[Encoding, Callable[[bytes], int]] = {
    Encoding.JSON: as_json.count_points,
    Encoding.PROTOBUF: as_protobuf.count_points,
}


def take_spans(scope: Scope, *, body: bytes, encoding: Encoding, now: datetime) -> Taken:
    """Accept the spans of an export; raises MalformedExport and then takes none of them."""
    intake = _intake(scope, body, now)
    rows = [span_row(span, intake) for span in _SPANS[encoding](body)]
    kept = [row for row in rows if row.span_id and row.trace_id]
    why = "a span needs an id, and a trace or a run"
    return _keep("spans", kept, body, rejected=len(rows) - len(kept), why=why)


def take_logs(scope: Scope, *, body: bytes, encoding: Encoding, now: datetime) -> Taken:
    """Accept the log records of an export; raises MalformedExport and then takes none of them."""
    intake = _intake(scope, body, now)
    rows = [log_row(log, index, intake) for index, log in enumerate(_LOGS[encoding](body))]
    return _keep("logs", rows, body)


def take_metrics(scope: Scope, *, body: bytes, encoding: Encoding, now: datetime) -> Taken:
    """Count the data points of an export and reject them, for metrics are not stored."""
    points = _POINTS[encoding](body)
    metrics.telemetry_rejected.labels(kind="metrics").inc(points)
    return Taken(accepted=0, rejected=points, message="metrics are not stored" if points else "")


@cache
def buffer() -> Buffer:
    """The buffer of this process, which is written out when the process ends."""
    made = Buffer(write=lambda table, rows: store().insert(table, rows), limits=limits())
    atexit.register(made.close)
    return made


def _intake(scope: Scope, body: bytes, now: datetime) -> Intake:
    return Intake(
        environment_id=scope.environment_id,
        received_at=now,
        digest=hashlib.blake2b(body, digest_size=8).digest(),
        limits=limits(),
    )


def _keep(
    kind: str, rows: Sequence[Row], body: bytes, *, rejected: int = 0, why: str = ""
) -> Taken:
    buffer().add(kind, rows, len(body))
    metrics.telemetry_accepted.labels(kind=kind).inc(len(rows))
    metrics.telemetry_rejected.labels(kind=kind).inc(rejected)
    return Taken(accepted=len(rows), rejected=rejected, message=why if rejected else "")
