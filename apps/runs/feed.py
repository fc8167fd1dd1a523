"""The feed: what happens to the runs of an environment, by a cursor that never misses a commit.

An event carries the id of the transaction that wrote it. What is below the oldest transaction that
is still running is complete; a cursor only ever moves that far. What is above it may be shown
early, but is read again until it is complete: everything is told at least once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, Self
from uuid import UUID

from django.db import connection

from apps.core import ids, sql
from apps.core.errors import Invalid

# How far the clock that made an event's id may be off, and how long its transaction may have run.
_SLACK = timedelta(hours=1)
_FIRST_IMPOSSIBLE = 2**63
OLDEST = timedelta(hours=24)


@dataclass(frozen=True, slots=True, order=True)
class Cursor:
    """A place in the feed: what comes after it has not been told."""

    transaction: int
    event_id: UUID

    @classmethod
    def parse(cls, text: str) -> Self:
        """The cursor that was told to a client; raises Invalid."""
        number, _, event_id = text.partition("-")
        with suppress(ValueError, OverflowError):
            found = cls(int(number), UUID(event_id))
            ids.created_at(found.event_id)  # what names no time is no cursor
            if str(found) == text and found.transaction < _FIRST_IMPOSSIBLE:
                return found
        raise Invalid("This is not a cursor", detail={"cursor": ["malformed"]})

    @classmethod
    def before(cls, oldest: int, now: datetime) -> Self:
        """After everything that transactions before `oldest` wrote, and nothing else."""
        return cls(oldest - 1, ids.floor(now + _SLACK))

    def __str__(self) -> str:
        return f"{self.transaction}-{self.event_id.hex}"

    def is_too_old(self, now: datetime) -> bool:
        """Whether so much may have happened since that it is better to look at everything anew."""
        return now - ids.created_at(self.event_id) > OLDEST


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing that happened to a run, and what the run can be found by."""

    cursor: Cursor
    run_id: UUID
    kind: str
    status: str
    attempt: int
    at: datetime
    task: str | None  # None when the run has been pruned since
    tags: tuple[str, ...]
    parent_id: UUID | None
    root_id: UUID | None
    batch_id: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What was found after a cursor; `cursor` is how far it is complete.

    `early` holds the changes beyond that, which will be found again. `is_cut` says that there are
    more than were asked for.
    """

    changes: tuple[Change, ...]
    early: tuple[Change, ...]
    cursor: Cursor
    is_cut: bool


def latest_cursor(*, now: datetime) -> Cursor:
    """The place after everything that is complete at this moment, in any environment.

    A page takes it before it reads what it shows: what its queries miss comes after it.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
        return Cursor.before(int(cursor.fetchone()[0]), now)


def read_changes(
    cursors: Mapping[UUID, Cursor], *, most: int, now: datetime
) -> dict[UUID, Reading]:
    """What happened in each environment after its cursor, up to `most` changes of each.

    The caller has made sure that whoever is told may read these environments.
    """
    places = list(cursors.items())
    rows = sql.rows(
        sql.load("runs", "changes"),
        {
            "environments": [environment_id for environment_id, _ in places],
            "transactions": [cursor.transaction for _, cursor in places],
            "ids": [cursor.event_id for _, cursor in places],
            "most": most + 1,
        },
    )
    return {
        environment_id: _reading(list(found), cursors[environment_id], most=most, now=now)
        for environment_id, found in groupby(rows, key=lambda row: row["environment_id"])
    }


def _reading(rows: list[dict[str, Any]], start: Cursor, *, most: int, now: datetime) -> Reading:
    oldest = rows[0]["oldest"]
    found = list(_changes(rows))
    is_cut = len(found) > most
    kept = found[:most]
    complete = [change for change in kept if change.cursor.transaction < oldest]
    reached = complete[-1].cursor if complete else start
    if not is_cut:
        reached = max(reached, Cursor.before(oldest, now))
    return Reading(
        changes=tuple(complete), early=tuple(kept[len(complete) :]), cursor=reached, is_cut=is_cut
    )


def _changes(rows: Iterable[dict[str, Any]]) -> Iterator[Change]:
    for row in rows:
        if row["id"] is None:
            continue
        yield Change(
            cursor=Cursor(row["transaction"], row["id"]),
            run_id=row["run_id"],
            kind=row["kind"],
            status=row["status"],
            attempt=row["attempt"],
            at=row["at"],
            task=row["task"],
            tags=tuple(row["tags"] or ()),
            parent_id=row["parent_id"],
            root_id=row["root_id"],
            batch_id=row["batch_id"],
        )
