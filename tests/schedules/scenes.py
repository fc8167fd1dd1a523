"""Schedules of Acme's production, whose version has the task `report`."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from apps.core.ids import new_id
from apps.environments.scope import Scope
from apps.runs.models import Run
from apps.runs.operations.finish import Ending, finish_runs
from apps.runs.states import RunStatus
from apps.schedules.models import Schedule, Tick
from apps.schedules.operations.manage import ScheduleRequest, create_schedule
from apps.schedules.operations.tick import tick_schedules
from tests.factories import Tenant, acme
from tests.runs.engine import version

NOW = datetime(2026, 11, 24, 12, 30, tzinfo=UTC)
NEXT = datetime(2026, 11, 24, 13, tzinfo=UTC)
HOUR = timedelta(hours=1)


def tenant(*tasks: str) -> Tenant:
    """Acme, with a promoted version of production."""
    made = acme()
    version(made.production, *(tasks or ("report",)))
    return made


def schedule(scope: Scope, key: str = "hourly", *, now: datetime = NOW, **options: Any) -> Schedule:
    """A schedule of every hour, unless options say otherwise."""
    given = {"task": "report", "cron": "0 * * * *"} | options
    if {"interval_seconds", "once_at"} & options.keys():
        given["cron"] = None
    request = ScheduleRequest(**given)
    return create_schedule(scope, request=request, deduplication_key=key, now=now)


def tick(now: datetime) -> int:
    return tick_schedules(now)


def runs() -> list[Run]:
    return list(Run.objects.filter(schedule_id__isnull=False).order_by("pk"))


def payloads() -> list[dict[str, Any]]:
    return [json.loads(run.payload or "")["json"] for run in runs()]


def times() -> list[str]:
    """The nominal times of all runs, as hours and minutes."""
    return [payload["timestamp"][11:16] for payload in payloads()]


def outcomes() -> list[tuple[str, str]]:
    """What became of each time, in order."""
    return [(f"{tick.at:%H:%M}", tick.outcome) for tick in Tick.objects.order_by("at")]


def finish(run: Run, now: datetime) -> None:
    finish_runs([Ending(run_id=run.pk, status=RunStatus.COMPLETED)], now=now)


def stranger() -> Any:
    return new_id()
