"""A run and all below it as one trace: the runs at once, their spans in pages as they arrived.

What is shown live is asked for again and again, so a page goes on from the latest arrival. Spans
are written a moment after they arrive, and by several processes: whoever follows looks back a few
seconds, and knows a span by its id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self
from uuid import UUID

from apps.core import ids, sql
from apps.core.errors import Invalid
from apps.environments.scope import Scope
from apps.runs.models import Run
from apps.runs.tree import family as family_of
from apps.telemetry import trace
from apps.telemetry.errors import StoreDown, TelemetryUnavailable
from apps.telemetry.store import store
from apps.telemetry.trace import Span

MOST_RUNS = 1_000
LOOK_BACK = timedelta(seconds=15)
_CLOCK_SLACK = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A place in the order in which spans arrived."""

    arrived_ms: int = 0
    span_id: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """The place that was told to a page; raises Invalid."""
        number, _, span_id = text.partition("-")
        if not (number.isascii() and number.isdecimal() and len(number) < 16):
            raise Invalid("This is not a place in a trace", detail={"after": ["malformed"]})
        return cls(arrived_ms=int(number), span_id=span_id[:64])

    def __str__(self) -> str:
        return f"{self.arrived_ms}-{self.span_id}"

    def back(self) -> Arrival:
        """A little earlier: what was written late is found by looking again."""
        earlier = self.arrived_ms - LOOK_BACK // timedelta(milliseconds=1)
        return Arrival(arrived_ms=max(0, earlier))


@dataclass(frozen=True, slots=True, kw_only=True)
class TreePage:
    """The runs of a tree as spans, and some of what they told.

    `next` is where more can be read at once; `latest` is where to look again later.
    """

    runs: list[Span]
    spans: list[dict[str, Any]]
    next: Arrival | None
    latest: Arrival
    is_truncated: bool
    is_available: bool = True


def run_tree(scope: Scope, run_id: UUID, *, after: Arrival, limit: int, now: datetime) -> TreePage:
    """The tree of a run; without ClickHouse, its runs alone. Raises NotFound."""
    family = family_of(scope, run_id, most=MOST_RUNS + 1)
    shown = family[:MOST_RUNS]
    found: list[dict[str, Any]] = []
    is_available = True
    try:
        found = _spans(scope, shown, after=after, limit=limit)
    except TelemetryUnavailable:
        is_available = False
    latest = (
        Arrival(arrived_ms=found[-1]["arrived_ms"], span_id=found[-1]["span_id"])
        if found
        else after
    )
    return TreePage(
        runs=[trace.span_of(run, now=now) for run in shown],
        spans=found,
        next=latest if len(found) == limit else None,
        latest=latest.back(),
        is_truncated=len(family) > MOST_RUNS,
        is_available=is_available,
    )


def _spans(
    scope: Scope, family: Sequence[Run], *, after: Arrival, limit: int
) -> list[dict[str, Any]]:
    parameters = {
        "environment_id": str(scope.environment_id),
        "run_ids": [str(run.pk) for run in family],
        "since": ids.created_at(min(run.pk for run in family)) - _CLOCK_SLACK,
        "after_arrival": after.arrived_ms,
        "after_span": after.span_id,
        "rows": limit,
    }
    try:
        return store().rows(sql.load("telemetry", "tree_spans"), parameters)
    except StoreDown as error:
        raise TelemetryUnavailable from error
