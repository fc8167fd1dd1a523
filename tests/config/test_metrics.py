"""What the platform counts: fed by what happens, and to be scraped from web and engine."""

from __future__ import annotations

import os
import socket
from datetime import timedelta
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction
from prometheus_client import REGISTRY

from apps.core import clock
from apps.runs.management.commands.engine import Engine
from apps.runs.models import Lease
from apps.runs.operations import duties
from apps.runs.operations.finish import Ending, finish_runs
from apps.runs.states import RunStatus
from tests import factories
from tests.config.test_up import running
from tests.live import test_database_url
from tests.processes import until
from tests.runs.engine import Worker, failed, later, started, trigger, version


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"holdfast_{name}", labels) or 0.0


@pytest.fixture
def acme(db) -> factories.Tenant:
    return factories.acme()


def test_ends_of_runs_are_counted_by_status_once_they_are_committed(
    acme, django_capture_on_commit_callbacks
):
    ended = [
        (trigger(acme.scope), status)
        for status in (RunStatus.COMPLETED, RunStatus.COMPLETED, RunStatus.FAILED)
    ]
    before = [counted("runs_finished_total", status=name) for name in ("COMPLETED", "FAILED")]
    with django_capture_on_commit_callbacks(execute=True), transaction.atomic():
        endings = [Ending(run_id=run_id, status=status) for run_id, status in ended]
        finish_runs(endings, now=clock.now())
        finish_runs(endings, now=clock.now())
        assert counted("runs_finished_total", status="COMPLETED") == before[0]
    after = [counted("runs_finished_total", status=name) for name in ("COMPLETED", "FAILED")]
    assert after == [before[0] + 2, before[1] + 1]


def test_new_runs_are_counted_and_known_ones_are_not(acme, django_capture_on_commit_callbacks):
    before = counted("runs_triggered_total")
    with django_capture_on_commit_callbacks(execute=True):
        for _ in range(2):
            trigger(acme.scope)
            trigger(acme.scope, idempotency_key="once")
        assert counted("runs_triggered_total") == before
    assert counted("runs_triggered_total") == before + 3


def test_the_way_to_a_first_start_is_measured_and_later_starts_are_not(
    acme, django_capture_on_commit_callbacks
):
    worker = Worker(version(acme.production, "hello"))
    trigger(acme.scope)
    before = [counted(f"run_start_seconds_{name}") for name in ("count", "sum")]
    with django_capture_on_commit_callbacks(execute=True):
        (work,) = worker.claim(now=later(1))
        worker.start(work, now=later(2))
        worker.say(failed(work, retry_delay_ms=0), now=later(3))
        worker.say(started(work, attempt=2), now=later(4))
    after = [counted(f"run_start_seconds_{name}") for name in ("count", "sum")]
    assert after == [before[0] + 1, before[1] + 2]


def test_an_engine_counts_the_leases_that_it_rescues(acme):
    long_ago = clock.now() - timedelta(hours=1)
    worker = Worker(version(acme.production, "hello"))
    for _ in range(3):
        trigger(acme.scope, now=long_ago)
    assert len(worker.claim(now=long_ago)) == Lease.objects.count() > 0
    held, before = Lease.objects.count(), counted("leases_rescued_total")
    Engine()._perform(duties.rescue)
    assert Lease.objects.count() == 0
    assert counted("leases_rescued_total") == before + held


@pytest.mark.django_db(transaction=True)
def test_an_engine_shows_its_metrics_where_it_is_told_to(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    stores = {name: os.environ[name] for name in ("REDIS_URL", "CLICKHOUSE_URL", "SECRET_KEY")}
    stores["DATABASE_URL"] = test_database_url()

    def shows_a_round() -> bool:
        try:
            with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
                return b'holdfast_duty_seconds_count{duty="queue_due"}' in answer.read()
        except URLError:
            return False

    with running(tmp_path, "engine", "--metrics-port", str(port), **stores) as engine:
        until(shows_a_round, 60)
        engine.process.terminate()
        assert engine.finish() == 0


def test_an_engine_whose_metrics_cannot_be_shown_says_why():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CommandError, match=f"No metrics can be shown on 127.0.0.1:{port}: "):
            call_command("engine", metrics_port=port)
