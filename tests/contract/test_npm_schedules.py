"""Schedules and bulk actions, driven by the unmodified public client."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from apps.core import clock
from apps.runs.models import BulkAction
from apps.runs.operations.bulk import advance_bulk_action
from apps.schedules.models import Schedule
from apps.schedules.operations.tick import tick_schedules
from tests import factories
from tests.api import scenes
from tests.contract.node import installed, node

VERSIONS = ("4.8.3", "4.5.12")


@pytest.fixture(params=VERSIONS)
def drive(request, web):
    """Runs a scenario with one version of the client; returns what it found."""
    folder = installed(request.param)
    tenant = factories.acme()
    scenes.version(tenant.scope, {**scenes.TASK, "id": "hello-world"})
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "TRIGGER_API_URL": web.url,
        "TRIGGER_SECRET_KEY": tenant.secret,
    }

    def run(scenario: str, steps: dict[str, Callable[[], Any]]) -> Any:
        with subprocess.Popen(
            [*node(), "schedules.mjs", scenario],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                return _converse(process, steps)
            finally:
                process.kill()

    return run


def _converse(process: subprocess.Popen[str], steps: dict[str, Callable[[], Any]]) -> Any:
    assert process.stdin
    assert process.stdout
    assert process.stderr
    for line in process.stdout:
        said = json.loads(line)
        if "result" in said:
            return said["result"]
        steps[said["step"]]()
        process.stdin.write("done\n")
        process.stdin.flush()
    raise AssertionError(process.stderr.read())


def test_schedules(drive):
    def tick() -> None:
        moment = clock.now() + timedelta(minutes=6)
        Schedule.objects.exclude(deduplication_key="dk1").delete()
        assert tick_schedules(moment) == 1

    found = drive("schedules", {"tick": tick})

    created = found["created"]
    assert created["id"] == found["again"] == found["retrieved"] == found["deleted"]["id"]
    assert (created["type"], created["externalId"], created["timezone"]) == (
        "IMPERATIVE", "ext", "Europe/London",
    )  # fmt: skip
    assert created["generator"] == {
        "type": "CRON",
        "expression": "0 9 * * 1-5",
        "description": "At 09:00, Monday through Friday",
    }
    assert created["environments"][0]["type"] == "PRODUCTION"
    assert found["updated"]["generator"]["expression"] == "*/5 * * * *"
    assert (found["stopped"], found["started"], found["nextRunIsADate"]) == (False, True, True)
    assert found["listed"] == {"count": 4, "pages": 2, "keys": ["more2", "more1", "more0"]}
    assert (found["paris"], found["utc"]) == (True, False)
    assert found["refused"] == {
        "cron": "UnprocessableEntityError",
        "timezone": "UnprocessableEntityError",
        "task": "UnprocessableEntityError",
        "unknown": "NotFoundError",
    }
    run = found["run"]
    assert run["schedule"]["id"] == created["id"]
    assert run["schedule"]["generator"]["type"] == "CRON"
    assert run["payload"]["scheduleId"] == created["id"]
    assert len(run["payload"]["upcoming"]) == 5


def test_bulk_actions(drive):
    def work() -> None:
        for action in BulkAction.objects.filter(status="PENDING"):
            while advance_bulk_action(action.pk, clock=clock.now):
                pass

    found = drive("bulk", {"work": work})

    if "missing" in found:
        pytest.skip("this version of the client has no bulk actions")
    assert found["done"]["counts"] == {"total": 3, "success": 3, "failure": 0}
    assert (found["done"]["type"], found["done"]["status"], found["done"]["name"]) == (
        "CANCEL", "COMPLETED", "old ones",
    )  # fmt: skip
    assert found["statuses"] == ["CANCELED"] * 3
    assert (found["replays"], found["aborted"]) == (2, True)
    assert found["listed"] == ["ABORTED", "COMPLETED", "COMPLETED"]
