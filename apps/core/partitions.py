"""Tables split by day on a UUIDv7 key, so that history is dropped a day at a time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID

from django.apps.registry import Apps
from django.db import connection, migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

from apps.core.ids import floor

_PARTITION_OPTIONS = (
    "fillfactor = 85, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_limit = 1000"
)


class CreatePartitionedModel(migrations.CreateModel):
    """CreateModel, with ``PARTITION BY RANGE`` on the first column that is its key."""

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: Any,
        to_state: Any,
    ) -> None:
        apps: Apps = to_state.apps
        model = apps.get_model(app_label, self.name)
        key = model._meta.pk  # noqa: SLF001 -- Django's own API
        column = schema_editor.quote_name(getattr(key, "columns", (key.column,))[0])
        plain = schema_editor.sql_create_table
        schema_editor.sql_create_table = f"{plain} PARTITION BY RANGE ({column})"
        try:
            super().database_forwards(app_label, schema_editor, from_state, to_state)
        finally:
            schema_editor.sql_create_table = plain


def partition_name(table: str, day: date) -> str:
    return f"{table}_p{day:%Y%m%d}"


def ensure_partitions(tables: Iterable[str], *, first: date, days: int) -> list[str]:
    """Make the day partitions that are missing; returns the names of those it made.

    Takes a short lock on each parent table, and only when something is missing.
    """
    wanted = [(table, first + timedelta(days=offset)) for table in tables for offset in range(days)]
    with connection.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE relkind = 'r' AND relispartition")
        present = {name for (name,) in cursor.fetchall()}
        missing = [(t, day) for t, day in wanted if partition_name(t, day) not in present]
        if missing:
            # one maker at a time: CREATE TABLE IF NOT EXISTS can still collide in the catalog
            cursor.execute("SELECT pg_advisory_lock(hashtext('holdfast.partitions'))")
            try:
                for table, day in missing:
                    cursor.execute(_create(table, day))
            finally:
                cursor.execute("SELECT pg_advisory_unlock(hashtext('holdfast.partitions'))")
    return [partition_name(table, day) for table, day in missing]


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """One day of one table."""

    table: str
    day: date

    @property
    def name(self) -> str:
        return partition_name(self.table, self.day)


def list_partitions(tables: Iterable[str]) -> list[Partition]:
    """The days that these tables have, oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT p.relname, c.relname FROM pg_inherits i "
            "JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_class p ON p.oid = i.inhparent "
            "WHERE p.relname = ANY(%s) AND p.relkind = 'p' AND c.relkind = 'r'",
            [list(tables)],
        )
        found = cursor.fetchall()
    days = [(table, name.removeprefix(f"{table}_p")) for table, name in found]
    partitions = [
        Partition(table=table, day=datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC).date())
        for table, day in days
    ]
    return sorted(partitions, key=lambda each: (each.day, each.table))


def drop_partition(name: str) -> None:
    """Drop a day with all its rows; locks the whole table for a moment."""
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {connection.ops.quote_name(name)}")


def bounds(day: date) -> tuple[UUID, UUID]:
    """The smallest id of a day and of the next."""
    start = datetime.combine(day, time(), UTC)
    return floor(start), floor(start + timedelta(days=1))


def _create(table: str, day: date) -> str:
    start, end = bounds(day)
    return (
        f'CREATE TABLE IF NOT EXISTS "{partition_name(table, day)}" PARTITION OF "{table}" '
        f"FOR VALUES FROM ('{start}') TO ('{end}') WITH ({_PARTITION_OPTIONS})"
    )
