"""Hot statements live in `apps/<app>/sql/<name>.sql`; this loads and runs them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from django.db import connection

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
