"""Web processes with a quick pulse, and Acme with a version whose tasks nobody really runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests import factories
from tests.coordinator.client import RawWorker, raw_worker
from tests.live import LiveServer, web_process
from tests.live import test_database_url as database_url
from tests.runs.engine import illegal_moves, unsound, version

_QUICK = {"HOLDFAST_BEAT_SECONDS": "1", "HOLDFAST_HELLO_SECONDS": "3"}


@pytest.fixture(scope="session")
def quick_process(django_db_setup, django_db_blocker) -> Iterator[LiveServer]:
    with django_db_blocker.unblock():
        database = database_url()
    with web_process(database, **_QUICK) as server:
        yield server


@pytest.fixture(scope="session")
def second_process(django_db_setup, django_db_blocker) -> Iterator[LiveServer]:
    """Another replica of the same."""
    with django_db_blocker.unblock():
        database = database_url()
    with web_process(database, **_QUICK) as server:
        yield server


@pytest.fixture(scope="session")
def deaf_process(django_db_setup, django_db_blocker, tmp_path_factory) -> Iterator[LiveServer]:
    """One for which Redis is away."""
    nowhere = f"unix://{tmp_path_factory.mktemp('redis')}/none.sock"
    with django_db_blocker.unblock():
        database = database_url()
    with web_process(database, **_QUICK, REDIS_URL=nowhere) as server:
        yield server


@pytest.fixture
def server(quick_process: LiveServer, transactional_db) -> LiveServer:
    return quick_process


@pytest.fixture
def acme(transactional_db) -> factories.Tenant:
    tenant = factories.acme()
    version(tenant.production, "hello", "parent")
    return tenant


@pytest.fixture
def connect(server, acme) -> Iterator[Any]:
    """Make a raw worker of Acme's production; all are closed at the end."""
    with ExitStack() as stack:

        def connected(*, to: LiveServer = server, secret: str = acme.secret, **options: Any):
            return stack.enter_context(raw_worker(to, secret, **options))

        yield connected


@pytest.fixture
def worker(connect) -> RawWorker:
    """One that has been welcomed."""
    raw: RawWorker = connect()
    raw.hello()
    return raw


@pytest.fixture
def errors_are_expected() -> None:
    """The server may log errors in this test."""


@pytest.fixture(autouse=True)
def nothing_is_logged(request) -> Iterator[None]:
    """No test leaves an error in the log, or the engine unsound, unless it says so."""
    if request.node.get_closest_marker("django_db") is None:
        yield
        return
    server = request.getfixturevalue("server")
    before = server.log.stat().st_size
    yield
    if "errors_are_expected" not in request.fixturenames:
        assert "Traceback" not in server.log.read_text()[before:]
    assert unsound() == []
    assert illegal_moves() == []
