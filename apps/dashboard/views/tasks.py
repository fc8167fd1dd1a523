"""The tasks of the current version, and how they have been doing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.http import HttpResponse
from django.views.decorators.http import require_safe

from apps.core import clock
from apps.core.errors import NotFound
from apps.core.ids import public_id
from apps.core.paging import CursorPage
from apps.dashboard.exports import asked_form, list_file
from apps.dashboard.lists import By, listed
from apps.dashboard.pages import in_environment, page
from apps.dashboard.requests import PageRequest
from apps.dashboard.statuses import TONES_OF_BARS, look_of
from apps.dashboard.values import Value, shown
from apps.deployments.queries import current_version, get_queue, list_queues, task_of, tasks_of
from apps.environments.access import Place
from apps.orgs.permissions import Permission
from apps.runs.activity import TaskActivity, task_activity
from apps.runs.search import RunSearch, search_runs
from apps.schedules.queries import list_schedules

_RECENT = 20
_SCHEDULES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRow:
    """A task as its row shows it."""

    task: Any
    activity: TaskActivity
    queue: Any = None

    @property
    def limit(self) -> int | None:
        return self.queue.effective_limit if self.queue else None

    @property
    def is_paused(self) -> bool:
        return bool(self.queue and self.queue.paused_at)

    @property
    def queue_id(self) -> str:
        """For the address of its page, as far as there is one."""
        return public_id("queue", self.queue.id) if self.queue else ""

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


_ORDERS = {
    "task": By(lambda row: row.task.slug),
    "runs": By(lambda row: row.activity.runs, most=True),
    "failed": By(lambda row: row.failure_percent, most=True),
    "duration": By(lambda row: row.activity.typical_seconds, most=True),
    "queue": By(lambda row: row.task.queue_name),
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
    rows = _rows(place, tasks_of(place.scope, version.id)) if version else []
    found = listed(request, rows, text=_text, orders=_ORDERS)
    if form := asked_form(request):
        return list_file(map(_exported, found.rows), "tasks", form)
    context = {
        "version": version,
        "rows": found.rows,
        "text": found.text,
        "order": found.order,
        "first_task": _FIRST_TASK,
    }
    template = "tasks/_list.html" if request.htmx else "tasks/page.html"
    return page(request, template, context, section="tasks")


@require_safe
@in_environment(Permission.RUNS_READ)
def task(request: PageRequest, place: Place, task: str) -> HttpResponse:
    """One task: how it is doing, as what the current version has it, its runs and schedules.

    One that the current version has not has a page as long as it has runs.
    """
    slug = task.replace("\0", "")
    version = current_version(place.scope)
    defined = task_of(place.scope, version.id, slug) if version else None
    found = search_runs(place.scope, RunSearch(tasks=(slug,)), CursorPage(size=_RECENT))
    if defined is None and not found.items:
        raise NotFound(f"There is no task {slug!r} in this environment")
    activity = task_activity(place.scope, [slug], now=clock.now())[slug]
    context = {
        "slug": slug,
        "version": version,
        "task": defined,
        "row": TaskRow(
            task=defined,
            activity=activity,
            queue=_queue(place, defined.queue_name) if defined else None,
        ),
        "found": found,
        "payload_schema": _schema(defined and defined.payload_schema),
        "output_schema": _schema(defined and defined.output_schema),
        "schedules": list(list_schedules(place.scope, task=slug)[:_SCHEDULES]),
    }
    return page(request, "tasks/one.html", context, section="tasks")


def _rows(place: Place, tasks: list[Any]) -> list[TaskRow]:
    activity = task_activity(place.scope, [task.slug for task in tasks], now=clock.now())
    queues = {queue.name: queue for queue in list_queues(place.scope)}
    return [
        TaskRow(task=task, activity=activity[task.slug], queue=queues.get(task.queue_name))
        for task in tasks
    ]


def _queue(place: Place, name: str) -> Any:
    try:
        return get_queue(place.scope, name)
    except NotFound:
        return None


def _schema(schema: Any) -> Value:
    return shown(schema) if schema else Value(is_absent=True)


def _text(row: TaskRow) -> str:
    return f"{row.task.slug} {row.task.file_path}"


def _by_tone(hour: dict[str, int]) -> dict[str, int]:
    tones = dict.fromkeys(TONES_OF_BARS, 0)
    for status, count in hour.items():
        tones[look_of(status).tone] += count
    return tones


def _exported(row: TaskRow) -> dict[str, Any]:
    return {
        "task": row.task.slug,
        "file": row.task.file_path,
        "queue": row.task.queue_name,
        "runs_24h": row.activity.runs,
        "failed_24h": row.activity.failed,
        "is_estimated": row.activity.is_estimated,
        "typical_seconds": row.activity.typical_seconds,
    }
