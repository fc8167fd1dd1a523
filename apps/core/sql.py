"""Hot statements live in `apps/<app>/sql/<name>.sql`; this loads and runs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from django.db import connection
from django.db.models import Field, JSONField, Model
from psycopg.types.json import Jsonb

_APPS = Path(__file__).resolve().parent.parent


@cache
def load(app: str, name: str) -> str:
    """The text of a statement; it is read once per process."""
    return (_APPS / app / "sql" / f"{name}.sql").read_text()


def rows(statement: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Run a statement on the current connection and return its rows by column name."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        if cursor.description is None:
            return []
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def execute(statement: str, parameters: Mapping[str, Any]) -> int:
    """Run a statement on the current connection and return how many rows it touched."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return int(cursor.rowcount)


def insert(objects: Sequence[Model]) -> None:
    """Insert rows of one model by COPY: a tenth of bulk_create's time for a thousand wide rows.

    Values are taken as they are: nothing is validated, database defaults apply, and a conflict
    fails the whole statement.
    """
    if not objects:
        return
    table, columns, names = _copied(type(objects[0]))
    with connection.cursor() as cursor, cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
        for each in objects:
            copy.write_row([_value(each, name, is_json) for name, is_json in names])


@cache
def _copied(model: type[Model]) -> tuple[str, str, list[tuple[str, bool]]]:
    fields: list[Field[Any, Any]] = [
        field
        for field in model._meta.concrete_fields  # noqa: SLF001 -- Django's own API
        if not field.has_db_default() and not field.generated and field.column
    ]
    quote = connection.ops.quote_name
    columns = ", ".join(quote(str(field.column)) for field in fields)
    names = [(field.attname, isinstance(field, JSONField)) for field in fields]
    return quote(model._meta.db_table), columns, names  # noqa: SLF001


def _value(row: Model, name: str, is_json: bool) -> Any:
    value = getattr(row, name)
    return Jsonb(value) if is_json and value is not None else value
