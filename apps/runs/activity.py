"""How busy tasks have been: runs per hour and status, at a cost that does not grow with them.

Of each task and hour a few of the newest runs are read. An hour with more is estimated from how
much of it they span, so a page says "about 12k runs" of a million after reading some thousands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from django.db import transaction

from apps.core import sql
from apps.core.ids import created_at, floor
from apps.environments.scope import Scope
from apps.orgs.permissions import Permission, require
from apps.runs.states import RunStatus

HOURS = 24
_PERIOD = timedelta(hours=1)
_READ_AT_MOST = 6_000
_SAMPLE = (10, 60)  # at least and at most, of each task and hour
_FAILED = {
    RunStatus.FAILED, RunStatus.CRASHED, RunStatus.SYSTEM_FAILURE, RunStatus.TIMED_OUT,
}  # fmt: skip
_SUCCEEDED = {RunStatus.COMPLETED}


@dataclass(slots=True)
class TaskActivity:
    """A task's last hours: how many runs of each status per hour, the oldest hour first."""

    hours: list[dict[str, int]] = field(default_factory=lambda: [{} for _ in range(HOURS)])
    is_estimated: bool = False
    typical_seconds: float | None = None  # of those that completed

    @property
    def runs(self) -> int:
        """How many were triggered."""
        return sum(sum(hour.values()) for hour in self.hours)

    @property
    def failed(self) -> int:
        """How many of them came to a bad end."""
        return sum(hour.get(status, 0) for hour in self.hours for status in _FAILED)

    @property
    def failure_rate(self) -> float | None:
        """The failed among those that succeeded or failed; None without any."""
        ended = sum(hour.get(status, 0) for hour in self.hours for status in _FAILED | _SUCCEEDED)
        return self.failed / ended if ended else None


def task_activity(scope: Scope, tasks: Sequence[str], *, now: datetime) -> dict[str, TaskActivity]:
    """The last 24 hours of each of these tasks."""
    require(scope.actor, Permission.RUNS_READ)
    if not tasks:
        return {}
    least, most = _SAMPLE
    sample = max(least, min(most, _READ_AT_MOST // (HOURS * len(tasks))))
    edges = [floor(now - _PERIOD * (HOURS - number)) for number in range(HOURS + 1)]
    rows = _sampled(
        {
            "environment": scope.environment_id,
            "tasks": list(tasks),
            "edges": edges,
            "most": sample,
        }
    )
    found = {task: TaskActivity() for task in tasks}
    rows.sort(key=lambda row: (row["task"], row["period"]))
    for (task, period), group in groupby(rows, key=lambda row: (row["task"], row["period"])):
        end = created_at(edges[period])
        _count(found[task], period - 1, list(group), sample=sample, end=end)
    for task, activity in found.items():
        activity.typical_seconds = _mean([row for row in rows if row["task"] == task])
    return found


def _sampled(parameters: dict[str, Any]) -> list[dict[str, Any]]:
    with transaction.atomic(savepoint=False):
        # The primary key looks cheap, since its rows lie in order, but reads the whole hour of
        # every tenant for a task that has no runs; in memory the task's own index costs no more.
        sql.execute("SET LOCAL random_page_cost = 1", {})
        return sql.rows(sql.load("runs", "task_activity"), parameters)


def _count(
    activity: TaskActivity, hour: int, rows: list[dict[str, Any]], *, sample: int, end: datetime
) -> None:
    factor = 1.0
    if sum(row["runs"] for row in rows) >= sample:
        spanned = end - created_at(min(row["oldest"] for row in rows))
        factor = max(1.0, _PERIOD / max(spanned, timedelta(milliseconds=1)))
        activity.is_estimated = True
    activity.hours[hour] = {row["status"]: max(1, round(row["runs"] * factor)) for row in rows}


def _mean(rows: list[dict[str, Any]]) -> float | None:
    timed = [(row["runs"], row["seconds"]) for row in rows if row["seconds"] is not None]
    count = sum(runs for runs, _ in timed)
    return sum(runs * seconds for runs, seconds in timed) / count if count else None
