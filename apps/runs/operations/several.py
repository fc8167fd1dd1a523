"""The same operation on several runs, each on its own: one that is refused holds up no other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from apps.core.errors import DomainError, Invalid
from apps.environments.scope import Scope
from apps.orgs.permissions import Permission, require
from apps.runs.operations.cancel import cancel_run
from apps.runs.operations.replay import replay_run

MOST_AT_ONCE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How many it was done for, and why not for the others, by the run."""

    done: int
    refused: dict[UUID, str]


def cancel_several(scope: Scope, *, run_ids: Sequence[UUID], now: datetime) -> Outcome:
    """Cancel each of these runs with its descendants; those that have ended stay as they are."""
    require(scope.actor, Permission.RUNS_WRITE)
    return _each(run_ids, lambda run_id: cancel_run(scope, run_id=run_id, now=now))


def replay_several(scope: Scope, *, run_ids: Sequence[UUID], now: datetime) -> Outcome:
    """Start a new run like each of these, the oldest first."""
    require(scope.actor, Permission.RUNS_WRITE)
    return _each(
        sorted(run_ids), lambda run_id: replay_run(scope, run_id=run_id, overrides={}, now=now)
    )


def _each(run_ids: Sequence[UUID], operation: Callable[[UUID], object]) -> Outcome:
    if len(run_ids) > MOST_AT_ONCE:
        raise Invalid(f"At most {MOST_AT_ONCE} runs at once", detail={"run": ["too many"]})
    refused: dict[UUID, str] = {}
    for run_id in dict.fromkeys(run_ids):
        try:
            operation(run_id)
        except DomainError as error:
            refused[run_id] = error.message
    return Outcome(done=len(set(run_ids)) - len(refused), refused=refused)
