"""Stores of their own, for tests that stop, break and fill them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from config.stores.clickhouse.store import ClickHouse
from config.stores.home import Home
from config.stores.process import Child, Program

Run = Callable[[Program], Child]


@pytest.fixture
def home(tmp_path) -> Home:
    """A home below folders that only we may enter, as a clone below /root is."""
    home = Home(tmp_path / "home")
    home.make()
    return home


@pytest.fixture
def run(home) -> Iterator[Run]:
    """Start a program and wait until it is ready; it ends with the test."""
    children = []

    def run(program: Program) -> Child:
        child = Child(program, home)
        children.append(child)
        child.start()
        child.wait_ready()
        return child

    yield run
    for child in children:
        child.kill()


@pytest.fixture
def clickhouse(home) -> Iterator[ClickHouse]:
    store = ClickHouse(home)
    yield store
    store.close()
