"""A ClickHouse of our own to kill, and the means to read what the session's one holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from apps.core.ids import new_id
from apps.environments.scope import Scope
from apps.orgs.actors import Actor
from apps.telemetry.store import Store, store
from config.stores.clickhouse.store import ClickHouse
from config.stores.home import Home
from config.stores.process import Child
from tests.api.conftest import acme, alice, api, charlie, nobody

__all__ = ["acme", "alice", "api", "charlie", "nobody"]


class Mortal:
    """An embedded ClickHouse that a test may kill and start again on the same port."""

    def __init__(self, folder: Path) -> None:
        self._home = Home(folder)
        self._home.make()
        self._clickhouse = ClickHouse(self._home)
        self._child = self._new()
        self.url = self._clickhouse.url

    def start(self) -> None:
        self._child = self._new()
        self._child.start()
        self._child.wait_ready()

    def kill(self) -> None:
        self._child.kill()

    def end(self) -> None:
        self._child.kill()
        self._clickhouse.close()

    def _new(self) -> Child:
        return Child(self._clickhouse.program(), self._home)


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Mortal]:
    made = Mortal(tmp_path / "home")
    made.start()
    yield made
    made.end()


@pytest.fixture
def clickhouse() -> Store:
    """The session's ClickHouse."""
    return store()


@pytest.fixture
def scope() -> Scope:
    """Some environment, as seen by its key; telemetry asks PostgreSQL nothing on the way in."""
    return Scope(
        actor=Actor(kind="key", id=new_id()),
        organization_id=new_id(),
        project_id=new_id(),
        environment_id=new_id(),
    )
