"""Keys that must not trigger twice: a customer's, a client's one logical call, one-time tokens."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from apps.core import sql
from apps.runs.policy import key_digest
from apps.runs.states import KeyKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A run that asks for a key, and how long it wants to keep it."""

    task: str
    key: str
    run_id: UUID
    life: timedelta


def hold_keys(
    environment_id: UUID, kind: KeyKind, holds: Iterable[Hold], *, now: datetime
) -> dict[UUID, UUID]:
    """Who holds each run's key now: the run itself, or the one that had it before."""
    asked = [(hold.task, key_digest(hold.key), hold) for hold in holds]
    first: dict[tuple[str, bytes], Hold] = {}
    for task, digest, hold in asked:
        first.setdefault((task, digest), hold)
    if not first:
        return {}
    ordered = sorted(first.items(), key=lambda item: item[0])
    rows = sql.rows(
        sql.load("runs", "hold_keys"),
        {
            "environment": environment_id,
            "kind": kind.value,
            "tasks": [task for (task, _), _ in ordered],
            "digests": [digest for (_, digest), _ in ordered],
            "runs": [hold.run_id for _, hold in ordered],
            "expiries": [now + hold.life for _, hold in ordered],
            "now": now,
        },
    )
    holders = {(row["task"], bytes(row["digest"])): row["run_id"] for row in rows}
    return {hold.run_id: holders[task, digest] for task, digest, hold in asked}
