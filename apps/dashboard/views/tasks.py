"""The tasks of the current version, and how they have been doing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.http import HttpResponse, JsonResponse
from django.views.decorators.http import require_safe

from apps.core import clock
from apps.dashboard.exports import csv_file
from apps.dashboard.pages import in_environment, page
from apps.dashboard.requests import PageRequest
from apps.dashboard.statuses import TONES_OF_BARS, look_of
from apps.deployments.queries import current_version, list_queues, tasks_of
from apps.environments.access import Place
from apps.orgs.permissions import Permission
from apps.runs.activity import TaskActivity, task_activity


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRow:
    """A task as its row shows it."""

    task: Any
    activity: TaskActivity
    limit: int | None
    is_paused: bool

    @property
    def bars(self) -> list[dict[str, int]]:
        """Runs per hour by tone, in the order in which they are stacked."""
        return [_by_tone(hour) for hour in self.activity.hours]

    @property
    def typical(self) -> timedelta | None:
        """How long one takes."""
        seconds = self.activity.typical_seconds
        return None if seconds is None else timedelta(seconds=seconds)

    @property
    def failure_percent(self) -> float | None:
        """Of those that ended by themselves."""
        rate = self.activity.failure_rate
        return None if rate is None else rate * 100


_ORDERS: dict[str, Callable[[TaskRow], Any]] = {
    "task": lambda row: row.task.slug,
    "runs": lambda row: -row.activity.runs,
    "failed": lambda row: -(row.failure_percent or 0),
    "duration": lambda row: -(row.activity.typical_seconds or 0),
}


_FIRST_TASK = """from holdfast import task


@task
async def hello(name: str) -> str:
    return f"Hello, {name}"
"""


@require_safe
@in_environment(Permission.DEPLOYMENTS_READ)
def task_list(request: PageRequest, place: Place) -> HttpResponse:
    """Every task of the current version with its last 24 hours."""
    version = current_version(place.scope)
    text, order = request.GET.get("q", "").strip(), request.GET.get("sort", "task")
    rows = _rows(place, version, text, order) if version else []
    if form := request.GET.get("export"):
        return _export(rows, form)
    context = {
        "version": version,
        "rows": rows,
        "text": text,
        "order": order if order in _ORDERS else "task",
        "first_task": _FIRST_TASK,
    }
    template = "tasks/_list.html" if request.htmx else "tasks/page.html"
    return page(request, template, context, section="tasks")


def _rows(place: Place, version: Any, text: str, order: str) -> list[TaskRow]:
    found = [
        task
        for task in tasks_of(place.scope, version.id)
        if text.lower() in f"{task.slug} {task.file_path}".lower()
    ]
    activity = task_activity(place.scope, [task.slug for task in found], now=clock.now())
    queues = {queue.name: queue for queue in list_queues(place.scope)}
    rows = [
        TaskRow(
            task=task,
            activity=activity[task.slug],
            limit=queue.effective_limit if (queue := queues.get(task.queue_name)) else None,
            is_paused=bool(queue and queue.paused_at),
        )
        for task in found
    ]
    return sorted(rows, key=_ORDERS.get(order, _ORDERS["task"]))


def _by_tone(hour: dict[str, int]) -> dict[str, int]:
    tones = dict.fromkeys(TONES_OF_BARS, 0)
    for status, count in hour.items():
        tones[look_of(status).tone] += count
    return tones


def _export(rows: list[TaskRow], form: str) -> HttpResponse:
    shown = [
        {
            "task": row.task.slug,
            "file": row.task.file_path,
            "queue": row.task.queue_name,
            "runs_24h": row.activity.runs,
            "failed_24h": row.activity.failed,
            "is_estimated": row.activity.is_estimated,
            "typical_seconds": row.activity.typical_seconds,
        }
        for row in rows
    ]
    return csv_file(shown, "tasks") if form == "csv" else JsonResponse(shown, safe=False)
