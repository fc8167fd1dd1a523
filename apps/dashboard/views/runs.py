"""The list of runs: filters, pages, what can be done with several, and its export."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib import messages
from django.db import connection
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST, require_safe

from apps.core import clock
from apps.core.errors import Invalid
from apps.core.ids import parse_public_id, public_id
from apps.dashboard import places, run_filters
from apps.dashboard.cursors import OLDEST, asked_page, pager
from apps.dashboard.exports import asked_form, cell
from apps.dashboard.pages import in_environment, page
from apps.dashboard.requests import PageRequest
from apps.dashboard.run_filters import (
    PERIODS,
    STATUS_GROUPS,
    read_filters,
)
from apps.deployments.queries import current_version, tasks_of
from apps.environments.access import Place
from apps.orgs.permissions import Permission
from apps.runs.feed import latest_cursor
from apps.runs.operations.several import Outcome, cancel_several, replay_several
from apps.runs.search import MOST_EXPORTED, export_runs, search_runs


@require_safe
@in_environment(Permission.RUNS_READ)
def run_list(request: PageRequest, place: Place) -> HttpResponseBase:
    """The runs of an environment by the filters of the address, as a page or as a file."""
    if form := asked_form(request):
        return _file(request, place, form)
    # Before all that is shown: what the search misses, the stream tells.
    live_cursor = None if request.htmx else latest_cursor(now=clock.now())
    filters = read_filters(request.GET, now=clock.now())
    asked = asked_page(request, "run", size=run_filters.PAGE_SIZE)
    found = search_runs(place.scope, filters.search, asked)
    context = {
        "filters": filters,
        "found": found,
        "live_cursor": live_cursor,
        "pager": pager(asked, found, "run"),
        "status_groups": STATUS_GROUPS,
        "periods": PERIODS,
        "most_exported": MOST_EXPORTED,
    }
    template = "runs/_list.html" if request.htmx else "runs/page.html"
    response = page(request, template, context, section="runs")
    response["Vary"] = "HX-Request"
    return response


@require_safe
@in_environment(Permission.RUNS_READ)
def task_menu(request: PageRequest, place: Place) -> HttpResponse:
    """The tasks to filter by: those of the current version, and those that are chosen."""
    chosen = read_filters(request.GET, now=clock.now()).search.tasks
    version = current_version(place.scope)
    known = [task.slug for task in tasks_of(place.scope, version.id)] if version else []
    context = {"tasks": sorted({*known, *chosen}), "chosen": chosen}
    return page(request, "runs/_task_menu.html", context)


@require_POST
@in_environment(Permission.RUNS_WRITE)
def cancellations(request: PageRequest, place: Place) -> HttpResponseBase:
    """The end of the chosen runs."""
    outcome = cancel_several(place.scope, run_ids=_chosen(request), now=clock.now())
    _tell(request, outcome, "Canceled", "What executes stops at its worker's next beat.")
    return _back(request, place)


@require_POST
@in_environment(Permission.RUNS_WRITE)
def replays(request: PageRequest, place: Place) -> HttpResponseBase:
    """The chosen runs, once more."""
    outcome = replay_several(place.scope, run_ids=_chosen(request), now=clock.now())
    _tell(request, outcome, "Replayed", "The new runs are on top of the list.")
    return _back(request, place)


def _file(request: PageRequest, place: Place, form: str) -> HttpResponseBase:
    """What the list shows, with all its pages, as a file."""
    filters = read_filters(request.GET, now=clock.now())
    oldest_first = request.GET.get("sort") == OLDEST
    parts = export_runs(place.scope, filters.search, oldest_first=oldest_first)
    write, content_type = _FORMS[form]
    response = StreamingHttpResponse(_streamed(write(parts)), content_type=content_type)
    env = places.spell(place.environment_slug, None)
    name = f"runs-{place.project_slug}-{env}-{clock.now():%Y%m%d-%H%M%S}.{form}"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


_COLUMNS = (
    "id", "task", "status", "status_reason", "version", "queue", "tags", "is_test", "attempts",
    "executed_ms", "created_at", "started_at", "finished_at", "batch", "parent",
)  # fmt: skip


def _row(run: Any) -> dict[str, Any]:
    return {
        "id": public_id("run", run.id),
        "task": run.task,
        "status": run.status,
        "status_reason": run.status_reason,
        "version": run.version_number or "",
        "queue": run.queue,
        "tags": run.tags,
        "is_test": run.is_test,
        "attempts": run.attempt_count,
        "executed_ms": run.executed_ms,
        "created_at": run.created_at.isoformat(),
        "started_at": run.started_at.isoformat() if run.started_at else None,
        "finished_at": run.finished_at.isoformat() if run.finished_at else None,
        "batch": public_id("batch", run.batch_id) if run.batch_id else None,
        "parent": public_id("run", run.parent_id) if run.parent_id else None,
    }


def _as_csv(parts: Iterator[list[Any]]) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, _COLUMNS)
    writer.writeheader()
    for runs in parts:
        for run in runs:
            row = _row(run)
            writer.writerow({name: cell(value) for name, value in row.items()})
        yield _taken(buffer)
    yield _taken(buffer)


def _taken(buffer: io.StringIO) -> str:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text


def _as_json(parts: Iterator[list[Any]]) -> Iterator[str]:
    separator = "["
    for runs in parts:
        for run in runs:
            yield f"{separator}\n{json.dumps(_row(run))}"
            separator = ","
    yield "\n]\n" if separator == "," else "[]\n"


_FORMS: dict[str, tuple[Callable[[Iterator[list[Any]]], Iterator[str]], str]] = {
    "csv": (_as_csv, "text/csv; charset=utf-8"),
    "json": (_as_json, "application/json"),
}


async def _streamed(parts: Iterator[str]) -> AsyncIterator[str]:
    """Each part is read in a thread, so that the event loop goes on."""
    try:
        while (part := await sync_to_async(_next)(parts)) is not None:
            yield part
    finally:
        await sync_to_async(_hang_up)()


def _next(parts: Iterator[str]) -> str | None:
    return next(parts, None)


def _hang_up() -> None:
    """The thread ends with the request, and nobody else would close its connection."""
    if not connection.in_atomic_block:
        connection.close()


def _chosen(request: PageRequest) -> list[Any]:
    chosen = [parse_public_id("run", text) for text in request.POST.getlist("run")]
    if not chosen:
        raise Invalid("No run was selected")
    return chosen


def _tell(request: PageRequest, outcome: Outcome, done: str, then: str) -> None:
    if outcome.done:
        runs = "1 run" if outcome.done == 1 else f"{outcome.done} runs"
        messages.success(request, f"{done} {runs}. {then}")
    if outcome.refused:
        reason = next(iter(outcome.refused.values()))
        messages.error(request, f"{len(outcome.refused)} could not be: {reason}")


def _back(request: PageRequest, place: Place) -> HttpResponseBase:
    """To the list as it was filtered; the form says where that is."""
    there = request.POST.get("back", "")
    here = places.address(place, "runs")
    is_list = there.startswith(f"{here}?") and url_has_allowed_host_and_scheme(there, None)
    return redirect(there if is_list else here)
