"""Stores of their own, for tests that stop, break and fill them."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

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


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(folder)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine does not let us mount a small file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> None:
    """Leave a disk without a byte to spare."""
    with (disk / "ballast").open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
        while ballast.write(b"x" * 65536):
            pass
