"""Web processes that look again quickly, and Acme with a version whose tasks nobody runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import factories
from tests.live import LiveServer, web_process
from tests.live import test_database_url as database_url
from tests.runs.engine import version

_QUICK = {
    "REALTIME_RECHECK_SECONDS": "0.5",
    "REALTIME_HEARTBEAT_SECONDS": "0.3",
    "REALTIME_STREAMS_PER_PERSON": "3",
    "REALTIME_CATCH_UP_CHANGES": "50",
    "REALTIME_BUFFERED_MESSAGES": "4",
}


@pytest.fixture(scope="session")
def realtime_process(django_db_setup, django_db_blocker) -> Iterator[LiveServer]:
    with django_db_blocker.unblock():
        database = database_url()
    with web_process(database, **_QUICK) as server:
        yield server


@pytest.fixture
def server(realtime_process: LiveServer, transactional_db) -> Iterator[LiveServer]:
    """A web process; no test may leave an error in its log."""
    before = realtime_process.log.stat().st_size
    yield realtime_process
    assert "Traceback" not in realtime_process.log.read_text()[before:]


@pytest.fixture
def acme(transactional_db) -> factories.Tenant:
    tenant = factories.acme()
    version(tenant.production, "hello", "parent")
    return tenant
