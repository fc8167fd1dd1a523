"""Migrations of a release that follows are applied while runs are triggered and executed."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test import override_settings

from apps.core import clock
from apps.runs.models import Run
from apps.runs.states import RunStatus
from tests import factories
from tests.runs.engine import Worker, ask, completed, started, unsound, version
from tests.runs.threads import Background

pytestmark = pytest.mark.django_db(transaction=True)

LOCK_SECONDS = 0.3
PATIENCE = 60.0


@pytest.fixture
def following(settings) -> Iterator[None]:
    """The release that follows is there; its migrations are taken back afterwards."""
    with override_settings(INSTALLED_APPS=[*settings.INSTALLED_APPS, "tests.following"]):
        yield
        call_command("migrate", "following", "zero", verbosity=0)


class Load:
    """Triggers and executes one run after another on a thread of its own."""

    def __init__(self) -> None:
        acme = factories.acme()
        self._scope, self._worker = acme.scope, Worker(version(acme.production, "hello"))
        self.done = 0
        self._end = threading.Event()
        self._thread = Background(self._work)

    def _work(self) -> None:
        while not self._end.is_set():
            ask(self._scope, now=clock.now())
            for work in self._worker.claim(now=clock.now()):
                self._worker.say(started(work), completed(work), now=clock.now())
                self.done += 1

    def stop(self) -> None:
        """End it; raises what went wrong."""
        self._end.set()
        self._thread.result()


@pytest.fixture
def load() -> Iterator[Load]:
    working = Load()
    yield working
    working.stop()


@contextmanager
def reading() -> Iterator[Callable[[], None]]:
    """A transaction that has read the runs, and goes on until it is told to end."""
    is_reading, end = threading.Event(), threading.Event()

    def read() -> None:
        with transaction.atomic():
            Run.objects.exists()
            is_reading.set()
            assert end.wait(PATIENCE)

    reader = Background(read)
    assert is_reading.wait(PATIENCE)
    try:
        yield end.set
    finally:
        end.set()
        reader.result()


def wait_until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, f"{what} has not happened"
        time.sleep(0.01)


def columns(table: str) -> list[str]:
    with connection.cursor() as cursor:
        return [each.name for each in connection.introspection.get_table_description(cursor, table)]


@pytest.mark.usefixtures("following")
def test_work_goes_on_while_a_migration_cannot_have_its_lock(load):
    said = io.StringIO()
    with reading() as end:
        migrating = Background(
            lambda: call_command(
                "migrate", "following", lock_seconds=LOCK_SECONDS, stdout=said
            )
        )  # fmt: skip
        wait_until(lambda: "in use" in said.getvalue(), "a migration that gives up")
        before = load.done
        wait_until(lambda: load.done > before + 3, "work between two tries")
        assert not migrating.is_done
        assert "following" not in columns("runs_run")
        end()
        migrating.result()
    assert "following" in columns("runs_run")
    before = load.done
    wait_until(lambda: load.done > before + 3, "work on the tables of the next release")
    load.stop()
    assert set(Run.objects.values_list("status", flat=True)) <= {
        RunStatus.COMPLETED, RunStatus.QUEUED, RunStatus.DEQUEUED,
    }  # fmt: skip
    assert unsound(now=clock.now()) == []


@pytest.mark.usefixtures("following")
def test_a_migration_that_never_has_its_lock_fails_and_changes_nothing():
    with reading(), pytest.raises(CommandError, match="in use at each of 2 tries"):
        call_command(
            "migrate", "following", lock_seconds=0.05, tries=2, stdout=io.StringIO()
        )  # fmt: skip
    assert "following" not in columns("runs_run")
