"""Hot statements live in `apps/<app>/sql/<name>.sql`; this loads and runs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from django.db import DatabaseError, connection
from django.db.models import Field, JSONField, Model
from psycopg.types.json import Jsonb

from apps.core.transactions import is_outdated

_MANY = 3  # rows from which COPY pays off
_FEW = 6  # rows of all kinds that one statement takes

_APPS = Path(__file__).resolve().parent.parent


@cache
def load(app: str, name: str) -> str:
    """The text of a statement; it is read once per process."""
    return (_APPS / app / "sql" / f"{name}.sql").read_text()


def rows(statement: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Run a statement on the current connection and return its rows by column name.

    Outside of a transaction, one that was prepared before a migration is prepared anew.
    """
    try:
        return _rows(statement, parameters)
    except DatabaseError as error:
        if connection.in_atomic_block or not is_outdated(error):
            raise
    connection.close()
    return _rows(statement, parameters)


def _rows(statement: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        if cursor.description is None:
            return []
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def execute(statement: str, parameters: Mapping[str, Any] | Sequence[Any]) -> int:
    """Run a statement on the current connection and return how many rows it touched."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return int(cursor.rowcount)


def insert(*kinds: Sequence[Model]) -> None:
    """Insert rows, each of `kinds` those of one model: a tenth of bulk_create's time for many.

    Many go by COPY; a few by one INSERT for all, since a statement costs more than its rows. Values
    are taken as they are: nothing is validated, database defaults apply, and a conflict fails the
    whole statement.
    """
    if sum(map(len, kinds)) <= _FEW and max(map(len, kinds)) < _MANY:
        _insert_few([row for rows in kinds for row in rows])
        return
    for rows in kinds:
        if len(rows) < _MANY:
            _insert_few(rows)
        else:
            _copy(rows)


def _insert_few(objects: Sequence[Model]) -> None:
    if not objects:
        return
    statements, values = [], []
    for each in objects:
        table, names = _target(type(each))
        columns = ", ".join(column for column, _, _ in names)
        places = ", ".join(["%s"] * len(names))
        statements.append(f"INSERT INTO {table} ({columns}) VALUES ({places})")  # noqa: S608
        values += [_value(each, name, is_json) for _, name, is_json in names]
    *others, last = statements
    before = ", ".join(f"row{nth} AS ({statement})" for nth, statement in enumerate(others))
    execute(f"WITH {before} {last}" if others else last, values)


def _copy(objects: Sequence[Model]) -> None:
    table, names = _target(type(objects[0]))
    columns = ", ".join(column for column, _, _ in names)
    rows = ([_value(each, name, is_json) for _, name, is_json in names] for each in objects)
    with connection.cursor() as cursor, cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


@cache
def _target(model: type[Model]) -> tuple[str, list[tuple[str, str, bool]]]:
    """The table, and its columns with their attributes and whether they hold JSON."""
    fields: list[Field[Any, Any]] = [
        field
        for field in model._meta.concrete_fields  # noqa: SLF001 -- Django's own API
        if not field.has_db_default() and not field.generated and field.column
    ]
    quote = connection.ops.quote_name
    names = [(quote(str(f.column)), f.attname, isinstance(f, JSONField)) for f in fields]
    return quote(model._meta.db_table), names  # noqa: SLF001


def _value(row: Model, name: str, is_json: bool) -> Any:
    value = getattr(row, name)
    return Jsonb(value) if is_json and value is not None else value
