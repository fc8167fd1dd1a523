"""Acme's production with a version, a worker of it, and a look at every move that a test made."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import factories
from tests.runs.engine import Worker, illegal_moves, version


@pytest.fixture
def acme() -> factories.Tenant:
    return factories.acme()


@pytest.fixture
def worker(acme) -> Worker:
    return Worker(version(acme.production, "hello", "parent"))


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
