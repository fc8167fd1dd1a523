"""The example of schedules, by the bench and by a worker against a live server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from apps.core import clock
from apps.deployments.operations.versions import promote_version, register_version
from apps.schedules.models import Schedule
from apps.schedules.operations.tick import tick_schedules
from holdfast import ScheduledRun, SyncHoldfastClient
from holdfast.testing import Bench
from tests import factories
from tests.live import LiveServer

EXAMPLE = Path(__file__).parents[2] / "examples" / "schedules"
PATIENCE = 60.0


@pytest.fixture
def reports(monkeypatch):
    """The example's tasks, imported as its own project would."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    from jobs import reports

    yield reports
    for name in [name for name in sys.modules if name.partition(".")[0] == "jobs"]:
        del sys.modules[name]


def test_a_morning_makes_one_report_per_customer_in_their_order(reports):
    morning = ScheduledRun(
        schedule_id="sched_1", timestamp=datetime(2026, 11, 24, 5, tzinfo=UTC),
        payload={"customers": reports.CUSTOMERS[:3]},
    )  # fmt: skip
    with Bench() as bench:
        run = bench.run(reports.morning_reports, morning)
    assert [report["customer"] for report in run.output] == reports.CUSTOMERS[:3]
    assert {report["day"] for report in run.output} == {"2026-11-24"}


@pytest.fixture
def worker(live_process: LiveServer, transactional_db, tmp_path) -> Iterator[SyncHoldfastClient]:
    """A worker of the example in a process of its own, and a client of its environment."""
    tenant = factories.acme()
    indexed = subprocess.run(
        [sys.executable, "-m", "holdfast.index"], cwd=EXAMPLE, capture_output=True, check=True
    )
    manifest = json.loads(indexed.stdout.splitlines()[-1])
    version = register_version(tenant.scope, manifest=manifest, now=clock.now())
    promote_version(tenant.scope, number=version.number, now=clock.now())
    environment = {
        **os.environ,
        "HOLDFAST_API_URL": live_process.url,
        "HOLDFAST_SECRET_KEY": tenant.secret,
        "HOLDFAST_VERSION": version.number,
    }
    log = tmp_path / "worker.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "holdfast.worker", "--root", str(EXAMPLE)],
            env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        with SyncHoldfastClient(api_url=live_process.url, secret_key=tenant.secret) as client:
            yield client
    finally:
        process.kill()
        process.wait()


def test_a_declared_schedule_starts_the_task_on_a_worker(worker):
    schedule = Schedule.objects.get()  # declared by the promotion
    assert (schedule.cron, schedule.timezone, schedule.overlap) == (
        "0 6 * * *", "Europe/Paris", "skip",
    )  # fmt: skip
    assert tick_schedules(schedule.due_at) == 1
    [made] = worker.runs.list(schedule=str(schedule))
    run = worker.runs.wait(made.id, timeout=PATIENCE, every=0.1)
    assert run.status == "COMPLETED", run
    assert (len(run.output), run.tags, run.ttl) == (20, ["morning"], "7200s")
    day = schedule.next_at.date().isoformat()
    assert {report["day"] for report in run.output} == {day}
    assert [report["customer"] for report in run.output][:2] == ["customer_0", "customer_1"]
