"""The end of runs: the one place where a run becomes final."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from apps.core import sql
from apps.core.facts import publish
from apps.core.ids import new_id
from apps.runs.errors import ended_as
from apps.runs.facts import RunsFinished, RunsStarted
from apps.runs.models import Batch, Waitpoint
from apps.runs.operations.locks import tell_of_room
from apps.runs.operations.waiting import wake_waiters
from apps.runs.states import BatchStatus, RunStatus, WaitpointKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a run ends."""

    run_id: UUID
    status: RunStatus
    reason: str = ""
    output: str | None = None
    output_type: str = "application/json"
    error: dict[str, Any] | None = None
    executed_ms: int = 0
    attempt: int | None = None  # one that its worker has started, and nobody has recorded yet


def finish_runs(endings: Sequence[Ending], *, now: datetime) -> list[UUID]:
    """Bring runs to their end and wake who waits for them; returns those that it ended.

    The caller holds the locks of the runs. One that is final already stays as it is.
    """
    if not endings:
        return []
    rows = sql.rows(
        sql.load("runs", "finish_runs"),
        {
            "runs": [ending.run_id for ending in endings],
            "statuses": [ending.status.value for ending in endings],
            "reasons": [ending.reason for ending in endings],
            "outputs": [ending.output for ending in endings],
            "output_types": [ending.output_type for ending in endings],
            "errors": [ending.error and json.dumps(ending.error) for ending in endings],
            "told_errors": [_told_error(ending) for ending in endings],
            "executed": [ending.executed_ms for ending in endings],
            "event_ids": [new_id() for _ in endings],
            "attempts": [ending.attempt for ending in endings],
            "attempt_ids": [new_id() for _ in endings],
            "start_ids": [new_id() for _ in endings],
            "now": now,
        },
    )
    tell_starts((row["started_after"] for row in rows), now=now)
    waitpoints = [row["waitpoint_id"] for row in rows if row["waitpoint_id"]]
    waitpoints += _advance_batches([row["id"] for row in rows if row["may_be_in_batch"]], now=now)
    wake_waiters(waitpoints, now=now)
    if rows:
        # one fact for all: telling of each by itself took a fifth of a turn
        ended = tuple(row["id"] for row in rows), tuple(row["status"] for row in rows)
        publish(RunsFinished(run_ids=ended[0], statuses=ended[1]))
    tell_of_room({environment_id for row in rows for environment_id in row["unblocked"] or ()})
    return [row["id"] for row in rows]


def tell_starts(queued: Iterable[datetime | None], *, now: datetime) -> None:
    """Tell of runs that have started for the first time, by when they might have."""
    waited = tuple(max(0.0, (now - since).total_seconds()) for since in queued if since)
    if waited:
        publish(RunsStarted(waited_seconds=waited))


def _told_error(ending: Ending) -> str | None:
    """What who waits for the run is told of its failure."""
    if ending.status == RunStatus.COMPLETED:
        return None
    return json.dumps(ending.error or ended_as(ending.status.value))


def _advance_batches(run_ids: list[UUID], *, now: datetime) -> list[UUID]:
    """Tick off items of batches; returns the waitpoints of batches that are complete by that.

    A run with an idempotency key may stand for items of batches other than its own.
    """
    if not run_ids:
        return []
    locked = [row["id"] for row in sql.rows(sql.load("runs", "lock_batches"), {"runs": run_ids})]
    if not locked:
        return []
    asked = {"runs": run_ids, "batches": locked}
    done = [row["id"] for row in sql.rows(sql.load("runs", "finish_items"), asked)]
    return complete_batches(Batch.objects.filter(pk__in=done), now=now) if done else []


def complete_batches(batches: Iterable[Batch], *, now: datetime) -> list[UUID]:
    """Complete those sealed batches whose items have all ended; the caller holds their locks."""
    done = [
        batch
        for batch in batches
        if batch.sealed_at
        and not batch.completed_at
        and not batch.items.filter(is_finished=False).exists()
    ]
    for batch in done:
        failed = batch.items.filter(error__isnull=False).count()
        batch.status = (
            BatchStatus.ABORTED
            if failed == batch.run_count
            else BatchStatus.PARTIAL_FAILED
            if failed
            else BatchStatus.COMPLETED
        )
        batch.completed_at = batch.updated_at = now
        batch.save(update_fields=["status", "completed_at", "updated_at"])
    waitpoints = Waitpoint.objects.filter(
        kind=WaitpointKind.BATCH, batch_id__in=[batch.pk for batch in done], completed_at=None
    )
    identifiers = list(waitpoints.values_list("id", flat=True))
    waitpoints.update(completed_at=now)
    return identifiers
