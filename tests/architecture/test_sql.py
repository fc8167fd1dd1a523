"""Every statement in a file is used once, says what it does, and fits the schema it is for."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from apps.telemetry.store import store

_APPS = Path(__file__).resolve().parent.parent.parent / "apps"
_CLICKHOUSE_APPS = {"telemetry"}
_FILES = sorted(_APPS.glob("*/sql/*.sql"))
_NAMES = [f"{path.parent.parent.name}/{path.stem}" for path in _FILES]

_POSTGRES_PARAMETER = re.compile(r"%\((\w+)\)s")
_CLICKHOUSE_PARAMETER = re.compile(r"\{(\w+):([^}]+)\}")
# Anything else is NULL: the statement says its type.
_POSTGRES_SAMPLES = {
    "now": datetime(2026, 11, 24, 12, tzinfo=UTC),
    "lease": timedelta(),
    "delivery": timedelta(),
}
_CLICKHOUSE_SAMPLES = {
    "UUID": "00000000-0000-0000-0000-000000000000",
    "DateTime64(3, 'UTC')": "2026-11-24 12:00:00.000",
    "Array(String)": [],
    "Array(UUID)": [],
    "String": "",
}


def _is_clickhouse(path: Path) -> bool:
    return path.parent.parent.name in _CLICKHOUSE_APPS


def _loads(tree: ast.AST, place: str = "") -> Iterator[tuple[str, str]]:
    """Which statement is loaded in which function: calls of `load` with two literal names."""
    for node in ast.iter_child_nodes(tree):
        inner = place
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inner = f"{place}.{node.name}"
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            words = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
            if name == "load" and len(words) == 2:
                yield "/".join(map(str, words)), inner
        yield from _loads(node, inner)


def _users() -> dict[str, set[str]]:
    users: dict[str, set[str]] = {}
    for path in _APPS.rglob("*.py"):
        for name, function in _loads(ast.parse(path.read_text())):
            users.setdefault(name, set()).add(f"{path.relative_to(_APPS)}:{function}")
    return users


def test_every_statement_is_loaded_by_exactly_one_function():
    users = _users()
    assert set(users) == set(_NAMES)
    assert {name: found for name, found in users.items() if len(found) > 1} == {}


@pytest.mark.parametrize("path", _FILES, ids=_NAMES)
def test_a_statement_begins_with_a_sentence_about_it(path):
    first, *_ = path.read_text().split("\n")
    assert re.match(r"-- [A-Z].{10,}", first), first


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path", [path for path in _FILES if not _is_clickhouse(path)], ids=lambda path: path.stem
)
def test_a_statement_fits_the_schema_of_postgresql(path):
    statement = path.read_text()
    names = _POSTGRES_PARAMETER.findall(statement)
    samples: dict[str, Any] = {name: _POSTGRES_SAMPLES.get(name) for name in names}
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {statement}", samples)
        assert cursor.fetchall()


@pytest.mark.parametrize(
    "path", [path for path in _FILES if _is_clickhouse(path)], ids=lambda path: path.stem
)
def test_a_statement_fits_the_schema_of_clickhouse(path):
    statement = path.read_text()
    samples: dict[str, Any] = {
        name: _CLICKHOUSE_SAMPLES.get(kind, 0)
        for name, kind in _CLICKHOUSE_PARAMETER.findall(statement)
    }
    assert store().rows(f"EXPLAIN {statement}", samples)
