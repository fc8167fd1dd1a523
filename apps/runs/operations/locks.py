"""The locks of runs, each in its turn: places and waitpoints, runs, then slots."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from apps.core import sql
from apps.core.facts import publish
from apps.runs.facts import RunsReady


def lock_places(*, runs: Iterable[UUID], named: Iterable[UUID] = ()) -> dict[UUID, UUID]:
    """Lock what the ends of these runs take away or complete, and the waitpoints named.

    To be done before any run is locked. Returns the environments of the waitpoints.
    """
    rows = sql.rows(sql.load("runs", "lock_places"), {"runs": list(runs), "named": list(named)})
    return {row["id"]: row["environment_id"] for row in rows}


def lock_runs(runs: Sequence[UUID]) -> list[dict[str, Any]]:
    """Lock those of the runs that workers hold, with their leases."""
    return sql.rows(sql.load("runs", "lock_runs"), {"runs": list(runs)})


def lock_slots(runs: Sequence[UUID]) -> None:
    """Lock the slots that these runs hold, before they are given back one after the other."""
    sql.rows(sql.load("runs", "lock_slots"), {"runs": list(runs)})


def release_leases(runs: Sequence[UUID]) -> None:
    """Drop the leases of these runs, and give back their slots."""
    rows = sql.rows(sql.load("runs", "release_leases"), {"runs": list(runs)})
    tell_of_room(row["environment_id"] for row in rows)


def tell_of_room(environment_ids: Iterable[UUID]) -> None:
    """Say that something may start where there was no room, in whatever process."""
    for environment_id in environment_ids:
        publish(RunsReady(environment_id=environment_id))
