"""The page where a task is tried out: a payload from its schema, options, and off it goes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods, require_safe

from apps.core import clock
from apps.core.errors import DomainError, Forbidden, NotFound
from apps.core.ids import parse_public_id, public_id
from apps.core.paging import CursorPage
from apps.dashboard import places
from apps.dashboard.pages import in_environment, page
from apps.dashboard.requests import PageRequest
from apps.dashboard.run_requests import FIELDS, read_request
from apps.deployments.queries import current_version, tasks_of
from apps.environments.access import Place
from apps.orgs.permissions import Permission
from apps.runs.operations.trigger import trigger_run
from apps.runs.queries import get_run
from apps.runs.search import RunSearch, recent_payloads
from holdfast.machines import MACHINES

_RECENT = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What is in the fields of the form, and what is wrong with them."""

    values: Mapping[str, str]
    errors: dict[str, list[str]] = field(default_factory=dict)
    problem: str = ""


@require_http_methods(["GET", "HEAD", "POST"])
@in_environment(Permission.RUNS_TRIGGER)
def test(request: PageRequest, place: Place) -> HttpResponseBase:
    """Choose a task, fill in its payload, run it."""
    version = current_version(place.scope)
    tasks = tasks_of(place.scope, version.id) if version else []
    wanted = request.POST.get("task") or request.GET.get("task")
    chosen = next((task for task in tasks if task.slug == wanted), None)
    if request.method != "POST":
        return _shown(request, place, tasks, chosen, _draft(request, place, chosen))
    if chosen is None:
        raise NotFound("The current version has no such task")
    values = {name: request.POST.get(name, "") for name in FIELDS}
    now = clock.now()
    try:
        asked = read_request(chosen.slug, values, now=now)
        triggered = trigger_run(place.scope, request=asked, now=now)
    except Forbidden:
        raise
    except DomainError as error:
        draft = _refused(values, error)
        return _shown(request, place, tasks, chosen, draft, status=error.status)
    return redirect(places.address(place, "run", run=public_id("run", triggered.run_id)))


@require_safe
@in_environment(Permission.RUNS_TRIGGER)
def payloads(request: PageRequest, place: Place) -> HttpResponse:
    """The payloads of a task's latest runs, to begin from."""
    task = request.GET.get("task", "")
    runs = recent_payloads(place.scope, RunSearch(tasks=(task,)), CursorPage(size=_RECENT))
    return page(request, "test/_payloads.html", {"runs": runs, "task": task})


def _shown(
    request: PageRequest,
    place: Place,
    tasks: list[Any],
    chosen: Any,
    draft: Draft,
    *,
    status: int = 200,
) -> HttpResponse:
    context = {
        "tasks": tasks,
        "chosen": chosen,
        "draft": draft,
        "machines": [("", "As the task says"), *((name, name) for name in MACHINES)],
        "schema": chosen.payload_schema if chosen else None,
    }
    return page(request, "test/page.html", context, section="test", status=status)


def _draft(request: PageRequest, place: Place, chosen: Any) -> Draft:
    """Empty, or like the run that is named: the way from a run to its test."""
    values = dict.fromkeys(FIELDS, "")
    if (like := request.GET.get("like")) and chosen:
        run = get_run(place.scope, parse_public_id("run", like))
        values |= {"payload": _pretty(run.payload), "tags": ", ".join(run.tags)}
        if run.metadata:
            values["metadata"] = json.dumps(run.metadata, indent=2, ensure_ascii=False)
    elif chosen and not chosen.payload_schema:
        values["payload"] = "{}"
    return Draft(values=values)


def _refused(values: Mapping[str, str], error: DomainError) -> Draft:
    errors = {name: _sentences(found) for name, found in error.detail.items() if name in FIELDS}
    return Draft(values=values, errors=errors, problem=error.message)


def _sentences(found: Any) -> list[str]:
    reasons = found if isinstance(found, list) else [found]
    return [
        f"{reason['path']}: {reason['message']}" if isinstance(reason, dict) else str(reason)
        for reason in reasons
    ]


def _pretty(payload: str | None) -> str:
    try:
        return json.dumps(json.loads(payload or "null"), indent=2, ensure_ascii=False)
    except ValueError:
        return payload or ""
