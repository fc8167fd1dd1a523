"""Every test session starts its own engines, before Django reads its settings."""

from __future__ import annotations

import os

import django
import pytest

from tests import engines
from tests.runs import callers

# At import, so that the conftest files below may import models.
_engines = engines.begin()
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
if os.environ.get("HOLDFAST_TEST_FAULTS"):
    callers.install()  # before any operation is imported
try:
    django.setup()
except BaseException:
    if _engines is not None:
        _engines.stop()
    raise

# One web process per worker for all tests: each import of the fixtures elsewhere makes another.
from tests.live import live_process, web  # noqa: E402 -- needs Django

__all__ = ["live_process", "web"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--postgres",
        choices=("bundled", "system"),
        default="bundled",
        help="run on the wheel's PostgreSQL (default) or on the one that the system has",
    )
    parser.addoption("--screenshots", metavar="FOLDER", help="keep pictures of all pages there")


def pytest_configure(config: pytest.Config) -> None:
    if config.option.postgres == "system":
        binaries = engines.system_postgres()
        if binaries is None:
            raise pytest.UsageError("--postgres=system: this system has no initdb")
        os.environ[engines.BINARIES_VARIABLE] = str(binaries)
    if _engines is not None and not config.option.help:
        try:
            _engines.start()
        except BaseException:
            _engines.stop()
            raise


def pytest_unconfigure() -> None:
    if _engines is not None:
        _engines.stop()
