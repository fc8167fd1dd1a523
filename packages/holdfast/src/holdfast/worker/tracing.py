"""Telemetry of runs as this worker sees it: a span per attempt, and what the attempt said."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from holdfast.protocol import Execute
from holdfast.telemetry import Exporter, LogLine, Record, Span

_MAX_INT = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Where an attempt belongs: its trace, its own span and the span above it."""

    trace_id: str
    span_id: str
    parent_id: str | None

    @property
    def traceparent(self) -> str:
        """The W3C form, for what the attempt triggers."""
        return f"00-{self.trace_id}-{self.span_id}-01"


def trace_of(traceparent: str | None) -> Trace:
    """A new span below the one that the server named, or in a trace of its own."""
    parts = (traceparent or "").split("-")
    if len(parts) == 4 and len(parts[1]) == 32 and len(parts[2]) == 16:
        return Trace(trace_id=parts[1], span_id=secrets.token_hex(8), parent_id=parts[2])
    return Trace(trace_id=secrets.token_hex(16), span_id=secrets.token_hex(8), parent_id=None)


class RunTelemetry:
    """Turns what task processes report into records, with the run's names on them."""

    def __init__(self, exporter: Exporter) -> None:
        self._exporter = exporter

    def attempt_ended(
        self, order: Execute, attempt: int, trace: Trace, *, start: int, end: int,
        error: dict[str, Any] | None,
    ) -> None:  # fmt: skip
        """The span of an attempt; times are Unix nanoseconds."""
        message = None if error is None else str(error.get("message") or error.get("code") or "")
        self._exporter.add(
            Span(
                name=f"attempt {attempt}",
                trace_id=trace.trace_id,
                span_id=trace.span_id,
                parent_id=trace.parent_id,
                start=start,
                end=end,
                error=message,
                values={**_names(order, attempt), "holdfast.task": order.task},
            )
        )

    def reported(self, order: Execute, attempt: int, trace: Trace, records: list[Record]) -> None:
        """What the attempt's code logged and measured."""
        names = _names(order, attempt)
        for record in records:
            values = {**_bounded(record["attributes"]), **names}
            if record["kind"] == "span":
                self._exporter.add(
                    Span(
                        name=record["name"],
                        trace_id=trace.trace_id,
                        span_id=record["id"],
                        parent_id=record["parent"] or trace.span_id,
                        start=record["start"],
                        end=record["end"],
                        error="" if record["error"] else None,
                        values=values,
                    )
                )
            else:
                self._exporter.add(
                    LogLine(
                        at=record["at"],
                        level=record["level"],
                        message=record["message"],
                        trace_id=trace.trace_id,
                        span_id=record["span"] or trace.span_id,
                        values=values,
                    )
                )


def _names(order: Execute, attempt: int) -> dict[str, Any]:
    return {"holdfast.run_id": order.run, "holdfast.attempt": attempt}


def _bounded(values: dict[str, Any]) -> dict[str, Any]:
    """Integers beyond 64 bits become text: OTLP has no room for them."""
    return {
        name: str(value) if isinstance(value, int) and abs(value) > _MAX_INT else value
        for name, value in values.items()
    }
