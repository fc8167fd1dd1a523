"""Put runs where the claim finds them: a row of the ready table in an open lane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from apps.core import sql
from apps.core.facts import publish
from apps.runs.facts import RunsReady
from apps.runs.models import ReadyRun

_TRIES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A run that may start now, and who may start it."""

    run_id: UUID
    environment_id: UUID
    queue: str
    key: str
    machine: str
    order_at: datetime
    version_id: UUID | None = None
    session_id: UUID | None = None


def make_ready(entries: Sequence[Ready], *, now: datetime) -> None:
    """Add runs to their lanes; the caller has set their status to QUEUED."""
    if not entries:
        return
    lanes = _open_lanes({(e.environment_id, e.queue, e.key) for e in entries}, now=now)
    ReadyRun.objects.bulk_create(
        ReadyRun(
            run_id=entry.run_id,
            environment_id=entry.environment_id,
            lane_id=lanes[entry.environment_id, entry.queue, entry.key],
            version_id=entry.version_id,
            session_id=entry.session_id,
            machine=entry.machine,
            order_at=entry.order_at,
        )
        for entry in entries
    )
    for environment_id in {entry.environment_id for entry in entries}:
        publish(RunsReady(environment_id=environment_id))


Triple = tuple[UUID, str, str]


def _open_lanes(wanted: set[Triple], *, now: datetime) -> dict[Triple, int]:
    found: dict[Triple, int] = {}
    for _ in range(_TRIES):
        missing = sorted(wanted - found.keys())
        if not missing:
            return found
        environments, queues, keys = zip(*missing, strict=True)
        rows = sql.rows(
            sql.load("runs", "open_lanes"),
            {
                "environments": list(environments),
                "queues": list(queues),
                "keys": list(keys),
                "now": now,
            },
        )
        found |= {(row["environment_id"], row["queue"], row["key"]): row["id"] for row in rows}
    if missing := wanted - found.keys():
        raise RuntimeError(f"lanes that cannot be made: {sorted(missing)}")
    return found
