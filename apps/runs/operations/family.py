"""Parents and children: who may have a child, and who would wait for itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from apps.core import sql
from apps.core.errors import Conflict, NotFound
from apps.environments.scope import Scope
from apps.runs.errors import WaitCycle


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """What a child takes from its parent."""

    id: UUID
    root_id: UUID
    depth: int
    version_number: str | None


def lock_parents(scope: Scope, run_ids: Iterable[UUID]) -> dict[UUID, Parent]:
    """The runs that are about to get children; raises NotFound, and Conflict for one that ends.

    Their cancellation waits until the children are there, so that it cancels these too.
    """
    wanted = set(run_ids)
    if not wanted:
        return {}
    rows = sql.rows(
        sql.load("runs", "lock_parents"),
        {"environment": scope.environment_id, "runs": list(wanted)},
    )
    if missing := wanted - {row["id"] for row in rows}:
        raise NotFound(f"parent run not found ({len(missing)} unknown)")
    if any(row["is_ending"] for row in rows):
        raise Conflict("the parent run has ended or is being canceled: it can have no children")
    return {
        row["id"]: Parent(
            id=row["id"],
            root_id=row["root_id"],
            depth=row["depth"],
            version_number=row["version_number"],
        )
        for row in rows
    }


def check_no_cycle(waiter_id: UUID, run_id: UUID) -> None:
    """Raise WaitCycle when `run_id` waits already, directly or through others, for the waiter."""
    rows = sql.rows(sql.load("runs", "waiters_of"), {"run": waiter_id, "wanted": run_id})
    if rows:
        raise WaitCycle
