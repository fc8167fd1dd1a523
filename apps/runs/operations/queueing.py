"""Put runs where the claim finds them: a row of the ready table in an open lane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from uuid import UUID

from apps.core import sql
from apps.core.facts import publish
from apps.environments.models import Environment
from apps.environments.types import EnvironmentType
from apps.runs import policy
from apps.runs.facts import RunsReady
from apps.runs.models import ReadyRun, Run

_TRIES = 3

Place = tuple[UUID, str, str, str]
"""An environment, a queue, a concurrency key or none, a task that executes alone or none."""


def make_ready(
    runs: Sequence[Run], *, now: datetime, holders: Mapping[UUID, UUID] | None = None
) -> None:
    """Add runs to their lanes; the caller has set their status to QUEUED.

    `holders` names the worker session of each run whose process is kept: only it can go on.
    """
    sql.insert(ready_places(runs, now=now, holders=holders))
    for environment_id in {run.environment_id for run in runs}:
        announce_ready(environment_id)


def ready_places(
    runs: Sequence[Run], *, now: datetime, holders: Mapping[UUID, UUID] | None = None
) -> list[ReadyRun]:
    """What is to be stored of runs that may start, in lanes that stay open until the commit."""
    if not runs:
        return []
    lanes = open_lanes({place_of(run) for run in runs}, now=now)
    sessions = holders or {}
    return [
        ReadyRun(
            run_id=run.pk,
            environment_id=run.environment_id,
            lane_id=lanes[place_of(run)],
            version_id=None if _follows_current(run) else run.version_id,
            session_id=sessions.get(run.pk),
            machine=run.machine,
            order_at=policy.order_at(_since(run, now, sessions), run.priority_seconds),
        )
        for run in runs
    ]


def announce_ready(environment_id: UUID) -> None:
    """Have all who can start runs of this environment look, once this is committed."""
    publish(RunsReady(environment_id=environment_id))


def make_ready_alike(run: Run, run_ids: Sequence[UUID], *, now: datetime) -> None:
    """Add new runs to their lane that are like this one, which is not one of them."""
    place = place_of(run)
    sql.execute(
        sql.load("runs", "make_ready_alike"),
        {
            "runs": run_ids,
            "environment": run.environment_id,
            "lane": open_lanes({place}, now=now)[place],
            "version": run.version_id,
            "machine": run.machine,
            "order_at": policy.order_at(run.queued_at or now, run.priority_seconds),
        },
    )
    announce_ready(run.environment_id)


def _since(run: Run, now: datetime, sessions: Mapping[UUID, UUID]) -> datetime:
    """What its place in the line counts from; one that goes on comes before younger ones."""
    goes_on = run.pk in sessions or run.suspended_attempt_id is not None
    return run.created_at if goes_on else run.queued_at or now


def _follows_current(run: Run) -> bool:
    """In development a run is tried again with the newest code, not with what it began with."""
    return run.attempt_count > 0 and is_development(run.environment_id)


@lru_cache(maxsize=10_000)
def is_development(environment_id: UUID) -> bool:
    """Whether an environment is for development; that never changes."""
    kind = Environment.objects.values_list("type", flat=True).get(pk=environment_id)
    return bool(kind == EnvironmentType.DEVELOPMENT)


def place_of(run: Run) -> Place:
    """What its lane is known by; a run that executes alone has one with none but its own kind."""
    task = run.task if run.is_single else ""
    return run.environment_id, run.queue, run.concurrency_key or "", task


def open_lanes(wanted: set[Place], *, now: datetime) -> dict[Place, int]:
    """The lanes of these places; none of them is closed before the caller's commit."""
    found: dict[Place, int] = {}
    for _ in range(_TRIES):
        missing = sorted(wanted - found.keys())
        if not missing:
            return found
        environments, queues, keys, tasks = zip(*missing, strict=True)
        rows = sql.rows(
            sql.load("runs", "open_lanes"),
            {
                "environments": list(environments),
                "queues": list(queues),
                "keys": list(keys),
                "tasks": list(tasks),
                "now": now,
            },
        )
        found |= {
            (row["environment_id"], row["queue"], row["key"], row["task"]): row["id"]
            for row in rows
        }
    if lost := wanted - found.keys():
        raise RuntimeError(f"lanes that cannot be made: {sorted(lost)}")
    return found
