"""Everything that the page of a run shows, looked up at one moment."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from apps.core.errors import NotFound
from apps.core.ids import public_id
from apps.dashboard.blockers import Blocker, blocker_of
from apps.dashboard.faults import Fault, fault_of
from apps.dashboard.journal import STEPS_SHOWN, StepRow, step_rows
from apps.dashboard.moves import Move, moves
from apps.dashboard.values import Value, shown, value_of
from apps.environments.scope import Scope
from apps.runs import queries as runs
from apps.runs.explanation import Explanation
from apps.runs.operations.journal import FORK
from apps.runs.steps import StepSearch, steps_of
from apps.runs.timeline import latest_moves

_MOST_MOVES = 200
_MOST_CHILDREN = 50
_MOST_ATTEMPTS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """A run with its family and its past."""

    run: Any
    id: str
    why: Explanation
    payload: Value
    output: Value
    metadata: Value
    fault: Fault | None
    attempts: list[dict[str, Any]]
    moves: list[Move]
    parent: Any = None
    root: Any = None
    steps: list[StepRow] = field(default_factory=list)
    has_more_steps: bool = False
    children: list[Any] = field(default_factory=list)
    has_more_children: bool = False
    waited: timedelta | None = None

    @property
    def reason(self) -> str:
        return self.why.text

    @property
    def blocker(self) -> Blocker:
        return blocker_of(self.why)

    @property
    def batch(self) -> str:
        return public_id("batch", self.run.batch_id) if self.run.batch_id else ""

    @property
    def replay_of(self) -> str:
        return public_id("run", self.run.replay_of_id) if self.run.replay_of_id else ""

    @property
    def schedule(self) -> str:
        return public_id("sched", self.run.schedule_id) if self.run.schedule_id else ""

    @property
    def is_fork(self) -> bool:
        """Whether it began with the journal of the run that it repeats."""
        return bool(self.run.source == FORK)


def look_at(scope: Scope, run_id: UUID) -> RunView:
    """The run of this id; raises NotFound."""
    run = runs.get_run(scope, run_id)
    children = runs.child_runs(scope, run_id, most=_MOST_CHILDREN + 1)
    parent = _relative(scope, run, run.parent_id)
    steps = steps_of(run_id, StepSearch(), most=STEPS_SHOWN + 1)
    return RunView(
        run=run,
        id=public_id("run", run.id),
        why=runs.explanation(scope, run_id),
        payload=value_of(run.payload, run.payload_type),
        output=value_of(run.output, run.output_type),
        metadata=shown(run.metadata) if run.metadata else Value(is_absent=True),
        fault=fault_of(run.error),
        attempts=[_attempt(each) for each in runs.attempts(scope, run_id)[-_MOST_ATTEMPTS:]],
        moves=moves(latest_moves(scope, run_id, most=_MOST_MOVES)),
        parent=parent,
        root=parent if run.root_id == run.parent_id else _relative(scope, run, run.root_id),
        steps=step_rows(steps[:STEPS_SHOWN]),
        has_more_steps=len(steps) > STEPS_SHOWN,
        children=children[:_MOST_CHILDREN],
        has_more_children=len(children) > _MOST_CHILDREN,
        waited=_waited(run.queued_at, run.started_at),
    )


def _attempt(attempt: Any) -> dict[str, Any]:
    return {"attempt": attempt, "fault": fault_of(attempt.error)}


def _relative(scope: Scope, run: Any, identifier: UUID | None) -> Any:
    if identifier is None or identifier == run.id:
        return None
    try:
        return runs.get_run(scope, identifier)
    except NotFound:
        return None  # pruned


def _waited(since: datetime | None, until: datetime | None) -> timedelta | None:
    return max(timedelta(), until - since) if since and until else None
