"""A run, its trace and its log as JSON: for the elements of its page, and to take away."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from apps.core import traces
from apps.core.ids import public_id
from apps.dashboard.run_view import RunView
from apps.dashboard.statuses import look_of
from apps.telemetry.queries import LogCursor, LogLine
from apps.telemetry.trace import Span
from apps.telemetry.tree import TreePage

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def tree(page: TreePage, now: datetime) -> dict[str, Any]:
    """What `<trace-tree>` reads; times are microseconds, which a number of JavaScript can hold."""
    return {
        "now": (now - _EPOCH) // timedelta(microseconds=1),
        "runs": [_run(span) for span in page.runs],
        "spans": [_span(row) for row in page.spans],
        "next": str(page.next) if page.next else None,
        "latest": str(page.latest),
        "truncated": page.is_truncated,
        "available": page.is_available,
    }


def _run(span: Span) -> dict[str, Any]:
    run: Any = span.run
    look = look_of(run.status)
    return {
        "id": span.span_id,
        "run": public_id("run", span.run_id),
        "parent": span.parent_span_id,
        "caller": traces.caller_span_id(run.traceparent),
        "name": span.name,
        "status": run.status,
        "label": look.label,
        "tone": look.tone,
        "icon": look.icon,
        "start": span.start_ns // 1_000,
        "started": (run.started_at - _EPOCH) // timedelta(microseconds=1)
        if run.started_at
        else None,
        "length": span.duration_ns // 1_000,
        "final": span.is_final,
    }


def _span(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": row["span_id"],
        "run": traces.span_id(row["run_id"]),
        "of": public_id("run", row["run_id"]),
        "parent": row["parent_span_id"],
        "name": row["name"],
        "kind": row["kind"],
        "level": row["level"],
        "start": row["start_ns"] // 1_000,
        "length": row["duration_ns"] // 1_000,
        "status": row["status"],
        "attempt": row["attempt"],
        "final": bool(row["is_final"]),
    }


def lines(found: list[LogLine]) -> list[dict[str, Any]]:
    """What `<log-tail>` reads."""
    return [
        {
            "at": line.time_ns // 1_000_000,
            "place": spell(line.cursor),
            "level": line.level,
            "message": line.message,
            "attributes": line.attributes,
            "attempt": line.attempt,
            "span": line.span_id,
        }
        for line in found
    ]


def as_text(line: LogLine) -> str:
    """A line of a downloaded log."""
    at = _EPOCH + timedelta(microseconds=line.time_ns // 1_000)
    more = "".join(f" {name}={value!r}" for name, value in line.attributes.items())
    return f"{at.isoformat()} {line.level:<5} {line.message}{more}\n"


def spell(cursor: LogCursor) -> str:
    """A line's place as a page sends it back."""
    return f"{cursor.time_ns}-{cursor.sequence}"


def whole(view: RunView) -> dict[str, Any]:
    """All that PostgreSQL knows of a run."""
    run = view.run
    return {
        "id": view.id,
        "task": run.task,
        "status": run.status,
        "reason": view.reason,
        "version": run.version_number,
        "queue": run.queue,
        "concurrencyKey": run.concurrency_key,
        "machine": run.machine,
        "isTest": run.is_test,
        "tags": run.tags,
        "payload": run.payload,
        "payloadType": run.payload_type,
        "output": run.output,
        "outputType": run.output_type,
        "error": run.error,
        "metadata": run.metadata,
        "parent": public_id("run", run.parent_id) if run.parent_id else None,
        "root": public_id("run", run.root_id) if run.root_id else None,
        "batch": view.batch or None,
        "replayOf": view.replay_of or None,
        "executedMs": run.executed_ms,
        "createdAt": run.created_at.isoformat(),
        "startedAt": run.started_at and run.started_at.isoformat(),
        "finishedAt": run.finished_at and run.finished_at.isoformat(),
        "attempts": [_attempt(each["attempt"]) for each in view.attempts],
        "timeline": [
            {"at": move.at.isoformat(), "what": move.label, "note": move.note}
            for move in view.moves
        ],
        "children": [public_id("run", child.id) for child in view.children],
    }


def _attempt(attempt: Any) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "status": attempt.status,
        "startedAt": attempt.started_at.isoformat(),
        "finishedAt": attempt.finished_at and attempt.finished_at.isoformat(),
        "executedMs": attempt.executed_ms,
        "error": attempt.error,
    }
