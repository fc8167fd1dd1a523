"""Acme's production with a version, a worker of it, and a look at every move that a test made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from django.db.backends.postgresql.operations import DatabaseOperations

from apps.core import transactions
from apps.core.transactions import is_transient
from holdfast.protocol import Execute
from tests import factories
from tests.runs import callers
from tests.runs.engine import Worker, execute, illegal_moves, version


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "calm(why): not to be run while faults are made everywhere")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Under faults every test commits: a connection that breaks must not take the test's data."""
    here = Path(__file__).parent
    for item in items if callers.RATE else []:
        if item.path.parent != here:
            continue
        if calm := item.get_closest_marker("calm"):
            item.add_marker(pytest.mark.skip(reason=calm.args[0]))
        elif item.get_closest_marker("django_db"):
            item.add_marker(pytest.mark.django_db(transaction=True), append=False)


@pytest.fixture(autouse=True)
def weather(request) -> Iterator[None]:
    """Calm, unless HOLDFAST_TEST_FAULTS says otherwise."""
    if not callers.RATE:
        yield
        return
    with callers.storm(request.node.nodeid):
        yield


@pytest.fixture(scope="session", autouse=True)
def quick_flush() -> Iterator[None]:
    """Every test under faults empties all tables: to delete few rows is faster than TRUNCATE."""
    if not callers.RATE:
        yield
        return
    operations: Any = DatabaseOperations
    usual, operations.sql_flush = operations.sql_flush, _delete
    yield
    operations.sql_flush = usual


def _delete(operations: Any, style: Any, tables: Sequence[str], **options: Any) -> list[str]:
    deletes = [f"DELETE FROM {operations.quote_name(table)}" for table in tables]  # noqa: S608
    return ["SET session_replication_role = replica", *deletes, "RESET session_replication_role"]


@pytest.fixture
def acme() -> factories.Tenant:
    return factories.acme()


@pytest.fixture
def worker(acme) -> Worker:
    return Worker(version(acme.production, "hello", "parent"))


@pytest.fixture
def work(acme, worker) -> Execute:
    """A run that the worker executes."""
    return execute(acme.scope, worker)


@pytest.fixture
def charlie() -> factories.Tenant:
    """Charlie's own tenant, with the same task."""
    globex = factories.globex()
    version(globex.production, "hello")
    return globex


@pytest.fixture(autouse=True)
def allowed_moves(request) -> Iterator[None]:
    """Whatever a test does, its runs move only as ALLOWED says."""
    marker = request.node.get_closest_marker("django_db")
    if marker is not None:
        request.getfixturevalue("transactional_db" if marker.kwargs.get("transaction") else "db")
    yield
    if marker is not None:
        assert illegal_moves() == []


@pytest.fixture
def deadlocks(monkeypatch) -> list[Exception]:
    """What PostgreSQL had to break up, and an operation then tried again."""
    found: list[Exception] = []

    def noted(error: Exception) -> bool:
        if "injected" not in str(error):
            found.append(error)
        return is_transient(error)

    monkeypatch.setattr(transactions, "is_transient", noted)
    return found
