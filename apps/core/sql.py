"""Hot statements live in `apps/<app>/sql/<name>.sql`; this loads and runs them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import cache, lru_cache
from operator import attrgetter
from pathlib import Path
from typing import Any

from django.db import DatabaseError, connection
from django.db.models import Field, JSONField, Model

from apps.core.transactions import is_outdated

_APPS = Path(__file__).resolve().parent.parent
_TYPES: Mapping[str, Callable[[Any], Any]] = {"text": str, "double precision": float}


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
    """Insert rows, each of `kinds` those of one model, in one statement: round trips cost most.

    What all rows of a kind have in common is sent once, and the rest as an array for each column.
    Values are taken as they are: nothing is validated, database defaults apply, and a conflict
    fails the whole statement.
    """
    statements: list[str] = []
    values: list[Any] = []
    for rows in kinds:
        if rows:
            columns = _columns(rows)
            ways = _ways(columns)
            statements.append(_statement(type(rows[0]), ways))
            values += _parameters(type(rows[0]), columns, ways)
    if statements:
        *others, last = statements
        before = ", ".join(f"kind{nth} AS ({other})" for nth, other in enumerate(others))
        execute(f"WITH {before} {last}" if others else last, values)


def _columns(rows: Sequence[Model]) -> list[Sequence[Any]]:
    """The values of each column; objects as text, since Python takes {"n": 1} for {"n": True}."""
    table = _table(type(rows[0]))
    found = zip(*map(table.values, rows), strict=True)
    return [
        list(map(_json, values)) if column.is_json else values
        for column, values in zip(table.columns, found, strict=True)
    ]


class _Way(Enum):
    """How the values of a column are sent."""

    NULL = auto()  # not at all
    SHARED = auto()  # one for all rows
    EACH = auto()


def _ways(columns: Sequence[Sequence[Any]]) -> tuple[_Way, ...]:
    first, *others = map(_way, columns)
    if len(columns[0]) > 1 and _Way.EACH not in (first, *others):
        first = _Way.EACH  # the database has to see that they are several
    return first, *others


def _way(values: Sequence[Any]) -> _Way:
    if values.count(values[0]) < len(values):
        return _Way.EACH
    return _Way.NULL if values[0] is None else _Way.SHARED


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    """A column's quoted name and type, and how several values of it are sent.

    `element` is what one is in an array, where lists and objects are text, of type `sent`, from
    which `received` makes the value again.
    """

    name: str
    kind: str
    sent: str
    received: str
    is_json: bool
    element: Callable[[Any], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """A model's quoted table and those of its columns that the database does not fill."""

    name: str
    columns: tuple[_Column, ...]
    values: Callable[[Model], tuple[Any, ...]]


@cache
def _table(model: type[Model]) -> _Table:
    fields: list[Field[Any, Any]] = [
        field
        for field in model._meta.concrete_fields  # noqa: SLF001 -- Django's own API
        if not field.has_db_default() and not field.generated and field.column
    ]
    return _Table(
        name=connection.ops.quote_name(model._meta.db_table),  # noqa: SLF001
        columns=tuple(map(_column, fields)),
        values=attrgetter(*[field.attname for field in fields]),
    )


def _column(field: Field[Any, Any]) -> _Column:
    name = connection.ops.quote_name(str(field.column))
    element: Callable[[Any], Any]
    # without a length: a cast to one would cut what is too long, instead of refusing it
    kind = re.sub(r"\(.*?\)", "", str(field.db_type(connection)))
    is_json = isinstance(field, JSONField)
    if is_json:
        sent, received, element = "text", f"r.{name}::jsonb", _same
    elif kind.endswith("[]"):
        # there are no arrays of arrays of different lengths
        listed = f"ARRAY(SELECT jsonb_array_elements_text(r.{name}::jsonb))::{kind}"
        sent, element = "text", _json
        received = f"CASE WHEN r.{name} IS NOT NULL THEN {listed} END"
    else:
        sent, received, element = kind, f"r.{name}", _plain(kind)
    return _Column(
        name=name, kind=kind, sent=sent, received=received, is_json=is_json, element=element
    )


@lru_cache(maxsize=1_000)
def _statement(model: type[Model], ways: tuple[_Way, ...]) -> str:
    table = _table(model)
    given = [
        (column, way)
        for column, way in zip(table.columns, ways, strict=True)
        if way is not _Way.NULL
    ]
    names = ", ".join(column.name for column, _ in given)
    written = ", ".join(
        column.received if way is _Way.EACH else f"%s::{column.kind}" for column, way in given
    )
    each = [column for column, way in given if way is _Way.EACH]
    source = ""
    if each:
        arrays = ", ".join(f"%s::{column.sent}[]" for column in each)
        source = f" FROM unnest({arrays}) AS r ({', '.join(column.name for column in each)})"
    return f"INSERT INTO {table.name} ({names}) SELECT {written}{source}"


def _parameters(
    model: type[Model], columns: Sequence[Sequence[Any]], ways: Sequence[_Way]
) -> list[Any]:
    """In the order of the statement: what is shared, then the arrays."""
    found = list(zip(_table(model).columns, columns, ways, strict=True))
    shared = [values[0] for _, values, way in found if way is _Way.SHARED]
    arrays = [
        list(map(column.element, values)) if column.element is not _same else list(values)
        for column, values, way in found
        if way is _Way.EACH
    ]
    return [*shared, *arrays]


def _same(value: Any) -> Any:
    return value


def _plain(kind: str) -> Callable[[Any], Any]:
    """Makes values of one type of what a column of this kind takes: an array has only one."""
    make = _TYPES.get(kind)
    return _same if make is None else lambda value: None if value is None else make(value)


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value)
