"""A run as a trace: the run itself is the root, what its worker told hangs below it."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from apps.core import traces
from apps.runs.states import RunStatus

if TYPE_CHECKING:
    from apps.runs.models import Run

_DEEPEST = 100  # what is nested deeper hangs flat on the last level, so that JSON can carry it
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOT_ERRORS = {RunStatus.COMPLETED, RunStatus.CANCELED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One span of a run: told by its worker, or a run itself."""

    run_id: UUID
    span_id: str
    parent_span_id: str
    trace_id: str
    attempt: int
    name: str
    kind: str
    level: str
    start_ns: int
    duration_ns: int
    status: str
    status_message: str
    attributes: dict[str, Any]
    events: list[dict[str, Any]]
    is_final: bool
    run: Run | None = None  # of a span that is a run itself

    @property
    def is_error(self) -> bool:
        return self.status == "error"

    @property
    def is_canceled(self) -> bool:
        return self.run is not None and self.run.status == RunStatus.CANCELED


@dataclass(slots=True)
class Node:
    """A span with what hangs below it, in the order of start."""

    span: Span
    children: list[Node] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """The whole of a run's trace, or its beginning when `is_truncated`."""

    trace_id: str
    root: Node
    is_truncated: bool


def trace_id_of(run: Run) -> str:
    """The trace that a run belongs to."""
    return traces.trace_id(run.id, root_id=run.root_id, traceparent=run.traceparent)


def span_of(run: Run, *, now: datetime) -> Span:
    """A run as a span; one that has not ended lasts until now."""
    status = RunStatus(run.status)
    is_error = run.is_final and status not in _NOT_ERRORS
    return Span(
        run_id=run.id,
        span_id=traces.span_id(run.id),
        parent_span_id=_parent_of(run),
        trace_id=trace_id_of(run),
        attempt=run.attempt_count,
        name=run.task,
        kind="run",
        level="ERROR" if is_error else "TRACE",
        start_ns=_nanoseconds(run.created_at),
        duration_ns=max(0, _nanoseconds(run.finished_at or now) - _nanoseconds(run.created_at)),
        status="error" if is_error else "ok" if run.is_final else "unset",
        status_message=str((run.error or {}).get("message", "")),
        attributes={},
        events=[],
        is_final=run.is_final,
        run=run,
    )


def tree(root: Span, spans: Sequence[Span]) -> Node:
    """Hang every span below its parent; those whose parent is unknown hang below the root."""
    known = {span.span_id for span in spans}
    below: dict[str, list[Span]] = defaultdict(list)
    for span in sorted(spans, key=lambda span: (span.start_ns, span.span_id)):
        parent = span.parent_span_id
        below[parent if parent in known else root.span_id].append(span)
    top = Node(root)
    placed = {root.span_id}
    _hang(top, below, placed)
    for span in spans:  # what is left says that it is its own ancestor
        if span.span_id not in placed:
            placed.add(span.span_id)
            top.children.append(node := Node(span))
            _hang(node, below, placed, depth=1)
    return top


def _hang(top: Node, below: dict[str, list[Span]], placed: set[str], depth: int = 0) -> None:
    waiting = deque([(top, top.span.span_id, depth)])
    while waiting:
        node, span_id, depth = waiting.popleft()
        for span in below.get(span_id, ()):
            if span.span_id in placed:
                continue
            placed.add(span.span_id)
            node.children.append(child := Node(span))
            place = (node, depth) if depth + 1 >= _DEEPEST else (child, depth + 1)
            waiting.append((place[0], span.span_id, place[1]))


def _parent_of(run: Run) -> str:
    if run.parent_id:
        return traces.span_id(run.parent_id)
    return traces.caller_span_id(run.traceparent)


def _nanoseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1_000
