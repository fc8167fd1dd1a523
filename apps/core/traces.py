"""W3C trace context of runs: ids that follow from a run's own, so that nothing stores them.

A run is a span of its own: the low half of its id. It belongs to the trace it was triggered in,
or else to that of the run at the top of its tree.
"""

from __future__ import annotations

import re
from uuid import UUID

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?")


def span_id(run_id: UUID) -> str:
    """The id of the span that a run is."""
    return f"{run_id.int & (1 << 64) - 1:016x}"


def trace_id(run_id: UUID, *, root_id: UUID | None, traceparent: str | None) -> str:
    """The trace that a run belongs to; `traceparent` is its caller's, if it had one."""
    found = _TRACEPARENT.fullmatch(traceparent or "")
    return found[1] if found else (root_id or run_id).hex


def caller_span_id(traceparent: str | None) -> str:
    """The span that triggered a run, or nothing."""
    found = _TRACEPARENT.fullmatch(traceparent or "")
    return found[2] if found else ""


def traceparent_of(run_id: UUID, *, root_id: UUID | None, traceparent: str | None) -> str:
    """What a worker is given, so that the spans of an attempt hang below the run's own."""
    trace = trace_id(run_id, root_id=root_id, traceparent=traceparent)
    return f"00-{trace}-{span_id(run_id)}-01"
