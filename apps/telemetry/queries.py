"""Reading one run's telemetry; every function answers TelemetryUnavailable when ClickHouse is away.

Whose run it is, is asked of PostgreSQL first: what is not yours is NotFound whatever ClickHouse
holds, and the environment is part of every condition as well.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from apps.core import ids, sql, traces
from apps.core.errors import NotFound
from apps.environments.scope import Scope
from apps.runs import queries as runs
from apps.telemetry import trace
from apps.telemetry.errors import StoreDown, TelemetryUnavailable
from apps.telemetry.store import store
from apps.telemetry.trace import Span, Trace

# A server's clock may be behind that of the server which made the run's id.
_CLOCK_SLACK = timedelta(hours=1)
_BEFORE_ALL = 0
MOST_SPANS = 25_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LogCursor:
    """A line's place: lines after it come later, or at the same instant with a higher number."""

    time_ns: int = _BEFORE_ALL
    sequence: int = 0


_AFTER_ALL = LogCursor(time_ns=2**63 - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One log line of a run."""

    time_ns: int
    sequence: int
    attempt: int
    level: str
    message: str
    trace_id: str
    span_id: str
    attributes: dict[str, Any]

    @property
    def cursor(self) -> LogCursor:
        return LogCursor(time_ns=self.time_ns, sequence=self.sequence)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanCursor:
    """A span's place among those of its run: by start, then by id."""

    start_ns: int = _BEFORE_ALL
    span_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanPage:
    """Some of a run's spans, the run's own first, and where the next ones begin."""

    spans: list[Span]
    next: SpanCursor | None


def run_logs(
    scope: Scope,
    run_id: UUID,
    *,
    after: LogCursor | None = None,
    limit: int = 100,
    levels: Sequence[str] = (),
    search: str = "",
) -> list[LogLine]:
    """Lines of a run in the order of their time, after a cursor; raises NotFound."""
    runs.get_run(scope, run_id)
    place = after or LogCursor()
    lines: list[LogLine] = []
    while len(lines) < limit:
        wanted = limit - len(lines)
        found = _rows(
            sql.load("telemetry", "run_logs"),
            scope,
            run_id,
            after_time=place.time_ns,
            after_sequence=place.sequence,
            levels=list(levels),
            search=search,
            rows=wanted,
        )
        for line in map(_line, found):
            if line.cursor != place:  # a delivery that was repeated
                lines.append(line)
            place = line.cursor
        if len(found) < wanted:
            break
    return lines


def latest_logs(
    scope: Scope,
    run_id: UUID,
    *,
    before: LogCursor | None = None,
    limit: int = 100,
    levels: Sequence[str] = (),
    search: str = "",
) -> list[LogLine]:
    """The last lines of a run before a cursor, in the order of their time; raises NotFound."""
    runs.get_run(scope, run_id)
    place = before or _AFTER_ALL
    found = _rows(
        sql.load("telemetry", "latest_logs"),
        scope,
        run_id,
        before_time=place.time_ns,
        before_sequence=place.sequence,
        levels=list(levels),
        search=search,
        rows=limit,
    )
    return [_line(row) for row in reversed(found)]


def run_spans(
    scope: Scope,
    run_id: UUID,
    *,
    now: datetime,
    after: SpanCursor | None = None,
    limit: int = 1_000,
) -> SpanPage:
    """A run's own span and those its worker told, by their start; raises NotFound."""
    run = runs.get_run(scope, run_id)
    first = [] if after else [trace.span_of(run, now=now)]
    wanted = limit - len(first)
    told = _spans(scope, run_id, after=after or SpanCursor(), limit=wanted + 1)
    shown = told[:wanted]
    latest = shown[-1] if shown else None
    place = SpanCursor(start_ns=latest.start_ns, span_id=latest.span_id) if latest else SpanCursor()
    return SpanPage(spans=first + shown, next=place if len(told) > wanted else None)


def run_trace(scope: Scope, run_id: UUID, *, now: datetime) -> Trace:
    """A run and its children as one tree of spans; raises NotFound."""
    run = runs.get_run(scope, run_id)
    told = _spans(scope, run_id, after=SpanCursor(), limit=MOST_SPANS + 1)
    children = runs.child_runs(scope, run_id)
    spans = told + [trace.span_of(child, now=now) for child in children]
    return Trace(
        trace_id=trace.trace_id_of(run),
        root=trace.tree(trace.span_of(run, now=now), spans[:MOST_SPANS]),
        is_truncated=len(spans) > MOST_SPANS,
    )


def run_span(scope: Scope, run_id: UUID, span_id: str, *, now: datetime) -> Span:
    """One span of a run, or the run's own; raises NotFound."""
    run = runs.get_run(scope, run_id)
    if span_id == traces.span_id(run_id):
        return trace.span_of(run, now=now)
    found = _rows(sql.load("telemetry", "run_span"), scope, run_id, span_id=span_id)
    if not found:
        raise NotFound(f"Run has no span {span_id}")
    return _span(found[0], run_id)


def _spans(scope: Scope, run_id: UUID, *, after: SpanCursor, limit: int) -> list[Span]:
    found = _rows(
        sql.load("telemetry", "run_spans"),
        scope,
        run_id,
        after_start=after.start_ns,
        after_span=after.span_id,
        rows=limit,
    )
    return [_span(row, run_id) for row in found]


def _rows(statement: str, scope: Scope, run_id: UUID, **parameters: Any) -> list[dict[str, Any]]:
    try:
        return store().rows(
            statement,
            parameters
            | {
                "environment_id": str(scope.environment_id),
                "run_id": str(run_id),
                "since": ids.created_at(run_id) - _CLOCK_SLACK,
            },
        )
    except StoreDown as error:
        raise TelemetryUnavailable from error


def _line(row: dict[str, Any]) -> LogLine:
    return LogLine(**row | {"attributes": _read(row["attributes"])})


def _span(row: dict[str, Any], run_id: UUID) -> Span:
    return Span(
        run_id=run_id,
        **row
        | {
            "attributes": _read(row["attributes"]),
            "events": json.loads(row["events"]),
            "is_final": bool(row["is_final"]),
        },
    )


def _read(attributes: dict[str, str]) -> dict[str, Any]:
    return {key: json.loads(value) for key, value in attributes.items()}
