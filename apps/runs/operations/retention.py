"""Let go of history that is older than an installation wants to keep, a day at a time.

A day without open runs is dropped as a whole, which costs the same for a thousand rows and for a
billion. As long as a run is open, what it needs of its day and of later ones stays: from there on
ended runs and what belongs to them are deleted in bites.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from uuid import UUID

from django.db import OperationalError, connection, transaction
from psycopg import errors

from apps.core import sql
from apps.core.partitions import bounds, drop_partition, list_partitions
from apps.runs.limits import limits
from apps.runs.models import PARTITIONED, Batch

BITE = 2_000
_LOCK_TIMEOUT = "500ms"  # readers of the whole table hold a drop up; then it waits for its next try


def forget_history(now: datetime) -> int:
    """Drop or thin out the days before HOLDFAST_HISTORY_DAYS; how many rows or days went."""
    days = limits().history_days
    if not days:
        return 0
    last = (now - timedelta(days=days)).date()
    old = [each for each in list_partitions(PARTITIONED) if each.day < last]
    oldest_open = _oldest_open(last)
    gone = 0
    for each in old:
        is_over = bounds(each.day)[1] <= oldest_open
        gone += _drop(each.name) if is_over else _thin(each.table, each.day)
    return gone + _forget_batches(last)


def _oldest_open(before: date) -> UUID:
    """The first open run of the old days; the end of those days when there is none."""
    end = bounds(before)[0]
    (row,) = sql.rows(sql.load("runs", "oldest_open_run"), {"before": end})
    found: UUID = row["id"] or end
    return found


def _drop(name: str) -> int:
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
            drop_partition(name)
    except OperationalError as error:
        if isinstance(error.__cause__, errors.LockNotAvailable):
            return 0
        raise
    return 1


def _thin(table: str, day: date) -> int:
    """Delete a bite of what no open run needs."""
    first, end = bounds(day)
    parameters = {"first": first, "end": end, "most": BITE}
    return sql.execute(_thinning(table), parameters)


def _thinning(table: str) -> str:
    return {
        "runs_run": sql.load("runs", "thin_run"),
        "runs_attempt": sql.load("runs", "thin_attempt"),
        "runs_runevent": sql.load("runs", "thin_runevent"),
        "runs_runtag": sql.load("runs", "thin_runtag"),
        "runs_journalentry": sql.load("runs", "thin_journalentry"),
        "runs_input": sql.load("runs", "thin_input"),
    }[table]


def _forget_batches(before: date) -> int:
    """Batches are few beside their runs: deleted, with their items, in bites."""
    old = Batch.objects.filter(id__lt=bounds(before)[0], completed_at__isnull=False)
    chosen = list(old.order_by("id").values_list("pk", flat=True)[:100])
    deleted, _ = Batch.objects.filter(pk__in=chosen).delete() if chosen else (0, {})
    return deleted
