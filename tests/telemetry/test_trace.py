"""How spans become a tree, and a run a span: without a database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from apps.core import traces
from apps.core.ids import new_id
from apps.runs.models import Run
from apps.runs.states import RunStatus
from apps.telemetry import trace
from apps.telemetry.trace import Node, Span

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
RUN = new_id()
ROOT = traces.span_id(RUN)


def run(status: RunStatus = RunStatus.EXECUTING, **fields) -> Run:
    return Run(**{"id": RUN, "task": "hello", "status": status, "created_at": NOW} | fields)


def span(name: str, parent: str = "", start: int = 0) -> Span:
    return Span(
        run_id=RUN,
        span_id=name,
        parent_span_id=parent,
        trace_id="t",
        attempt=1,
        name=name,
        kind="internal",
        level="TRACE",
        start_ns=start,
        duration_ns=1,
        status="unset",
        status_message="",
        attributes={},
        events=[],
        is_final=True,
    )


def drawn(node: Node) -> dict[str, Any]:
    return {child.span.name: drawn(child) for child in node.children}


def tree(*spans: Span) -> dict[str, Any]:
    return drawn(trace.tree(trace.span_of(run(), now=NOW), spans))


def test_spans_hang_below_their_parents_in_the_order_of_start():
    spans = [span("b", ROOT, 2), span("a", ROOT, 1), span("aa", "a", 4), span("ab", "a", 3)]
    found = tree(*spans)
    assert found == {"a": {"ab": {}, "aa": {}}, "b": {}}
    assert list(found["a"]) == ["ab", "aa"]


def test_spans_whose_parent_never_arrived_hang_below_the_run():
    assert tree(span("a", "lost"), span("b")) == {"a": {}, "b": {}}


def test_spans_that_say_they_are_their_own_ancestors_are_still_shown_once():
    found = tree(span("a", "b"), span("b", "a"), span("c", "b"), span("d", "d"))
    assert found == {"a": {"b": {"c": {}}}, "d": {}}


def test_spans_nested_without_end_are_flat_from_some_depth_on():
    names = [f"{n:04}" for n in range(5_000)]
    spans = [span(name, names[n - 1] if n else ROOT, n) for n, name in enumerate(names)]
    node, depth, count = trace.tree(trace.span_of(run(), now=NOW), spans), 0, 0
    while node.children:
        count += len(node.children)
        node, depth = node.children[0], depth + 1
    assert depth == 100
    assert count == 5_000


def test_a_run_that_executes_is_a_partial_span_that_lasts_until_now():
    found = trace.span_of(run(attempt_count=2), now=NOW + timedelta(seconds=3))
    assert (found.is_final, found.is_error, found.status) == (False, False, "unset")
    assert (found.duration_ns, found.attempt) == (3_000_000_000, 2)


@pytest.mark.parametrize(
    ("status", "is_error", "is_canceled"),
    [
        (RunStatus.COMPLETED, False, False),
        (RunStatus.FAILED, True, False),
        (RunStatus.CANCELED, False, True),
        (RunStatus.TIMED_OUT, True, False),
    ],
)
def test_a_run_that_ended_is_a_final_span(status, is_error, is_canceled):
    ended = run(status, finished_at=NOW + timedelta(seconds=1), error={"message": "no"})
    found = trace.span_of(ended, now=NOW + timedelta(days=1))
    assert (found.is_final, found.is_error, found.is_canceled) == (True, is_error, is_canceled)
    assert found.duration_ns == 1_000_000_000


def test_a_run_belongs_to_the_trace_of_its_caller_or_of_the_run_at_the_top():
    top = new_id()
    assert trace.trace_id_of(run()) == RUN.hex
    assert trace.trace_id_of(run(root_id=top)) == top.hex
    caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert trace.trace_id_of(run(root_id=top, traceparent=caller)) == caller[3:35]
    assert trace.trace_id_of(run(traceparent="nonsense")) == RUN.hex


def test_the_parent_of_a_run_is_its_parent_run_or_its_callers_span():
    parent = new_id()
    caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert trace.span_of(run(traceparent=caller), now=NOW).parent_span_id == "b7ad6b7169203331"
    child = run(parent_id=parent, traceparent=caller)
    assert trace.span_of(child, now=NOW).parent_span_id == traces.span_id(parent)
    assert trace.span_of(run(), now=NOW).parent_span_id == ""


def test_a_worker_is_told_to_hang_its_spans_below_the_run():
    told = traces.traceparent_of(RUN, root_id=None, traceparent=None)
    assert told == f"00-{RUN.hex}-{ROOT}-01"
    assert len(ROOT) == 16
