"""The page of a run: what it is doing and why, its trace, its log, and what can be done with it."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.files.storage import default_storage
from django.http import HttpResponse, JsonResponse, QueryDict
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from apps.core import clock
from apps.core.errors import Invalid, NotFound
from apps.core.ids import parse_public_id, public_id
from apps.dashboard import places, run_json
from apps.dashboard.exports import MOST_EXPORTED, asked_form, list_file
from apps.dashboard.journal import STEPS_SHOWN, exported, read_steps, step_rows
from apps.dashboard.pages import in_environment, page
from apps.dashboard.requests import PageRequest
from apps.dashboard.run_view import look_at
from apps.dashboard.tracebacks import frames
from apps.dashboard.values import Value, shown
from apps.environments.access import Place
from apps.orgs.permissions import Permission
from apps.runs.feed import latest_cursor
from apps.runs.operations.cancel import cancel_run
from apps.runs.operations.fork import fork_run
from apps.runs.operations.replay import replay_run
from apps.runs.queries import get_run
from apps.runs.steps import list_steps
from apps.telemetry.errors import TelemetryUnavailable
from apps.telemetry.queries import LogCursor, latest_logs, run_logs, run_span
from apps.telemetry.rows import LEVELS
from apps.telemetry.tree import Arrival, run_tree
from holdfast import packets

_SPANS_AT_ONCE = 2_000
_LINES_AT_ONCE = 300
MOST_LINES_DOWNLOADED = 100_000


@require_safe
@in_environment(Permission.RUNS_READ)
def run_page(request: PageRequest, place: Place, run: str) -> HttpResponse:
    """One run; with htmx only what changes while it executes."""
    # Before all that is shown: what these queries miss, the stream tells.
    cursor = latest_cursor(now=clock.now())
    view = look_at(place.scope, parse_public_id("run", run))
    context = {
        "view": view,
        "run": view.run,
        "cursor": cursor,
        "environment_id": public_id("env", place.scope.environment_id),
        "can_cancel": not view.run.is_final and not view.run.cancel_requested_at,
    }
    template = "runs/_run.html" if request.htmx else "runs/run.html"
    response = page(request, template, context, section="runs")
    response["Vary"] = "HX-Request"
    return response


@require_safe
@in_environment(Permission.RUNS_READ)
def trace(request: PageRequest, place: Place, run: str) -> JsonResponse:
    """Spans of the run and of those below it: those that arrived after a place."""
    now = clock.now()
    after = Arrival.parse(request.GET["after"]) if request.GET.get("after") else Arrival()
    run_id = parse_public_id("run", run)
    found = run_tree(place.scope, run_id, after=after, limit=_SPANS_AT_ONCE, now=now)
    return JsonResponse(run_json.tree(found, now))


@require_safe
@in_environment(Permission.RUNS_READ)
def span(request: PageRequest, place: Place, run: str, span: str) -> HttpResponse:
    """What one span says."""
    owner = get_run(place.scope, parse_public_id("run", run))
    try:
        found = run_span(place.scope, owner.id, span, now=clock.now())
    except TelemetryUnavailable:
        return page(request, "runs/_span.html", {"is_away": True})
    except NotFound:
        return page(request, "runs/_span.html", {"is_gone": True})
    context = {
        "span": found,
        "owner": owner,
        "attributes": shown(found.attributes) if found.attributes else Value(is_absent=True),
        "events": [_event(event) for event in found.events],
        "milliseconds": found.duration_ns // 1_000_000,
    }
    return page(request, "runs/_span.html", context)


def _event(event: dict[str, Any]) -> dict[str, Any]:
    attributes = dict(event.get("attributes") or {})
    trace = str(attributes.pop("exception.stacktrace", ""))
    return {
        "name": event.get("name", ""),
        "type": attributes.pop("exception.type", ""),
        "message": attributes.pop("exception.message", ""),
        "trace": trace,
        "frames": frames(trace),
        "attributes": shown(attributes) if attributes else None,
    }


@require_safe
@in_environment(Permission.RUNS_READ)
def logs(request: PageRequest, place: Place, run: str) -> JsonResponse:
    """Lines after a place, or the last ones before it."""
    run_id, asked = parse_public_id("run", run), request.GET
    chosen: dict[str, Any] = {"levels": _levels(asked), "search": asked.get("search", "")[:500]}
    try:
        if after := asked.get("after"):
            found = run_logs(
                place.scope, run_id, after=_place(after), limit=_LINES_AT_ONCE, **chosen
            )
        else:
            before = _place(asked["before"]) if asked.get("before") else None
            found = latest_logs(place.scope, run_id, before=before, limit=_LINES_AT_ONCE, **chosen)
    except TelemetryUnavailable:
        return JsonResponse({"lines": [], "available": False, "more": False})
    more = len(found) == _LINES_AT_ONCE
    return JsonResponse({"lines": run_json.lines(found), "available": True, "more": more})


@require_safe
@in_environment(Permission.RUNS_READ)
def logs_file(request: PageRequest, place: Place, run: str) -> HttpResponse:
    """The log as a text file."""
    run_id = parse_public_id("run", run)
    found = run_logs(
        place.scope,
        run_id,
        limit=MOST_LINES_DOWNLOADED,
        levels=_levels(request.GET),
        search=request.GET.get("search", "")[:500],
    )
    response = HttpResponse(
        "".join(map(run_json.as_text, found)), content_type="text/plain; charset=utf-8"
    )
    return _attached(response, f"{run}.log")


@require_safe
@in_environment(Permission.RUNS_READ)
def run_file(request: PageRequest, place: Place, run: str) -> HttpResponse:
    """The run as JSON."""
    view = look_at(place.scope, parse_public_id("run", run))
    text = json.dumps(run_json.whole(view), indent=2, ensure_ascii=False)
    return _attached(HttpResponse(text, content_type="application/json"), f"{run}.json")


@require_safe
@in_environment(Permission.RUNS_READ)
def value_file(request: PageRequest, place: Place, run: str, part: str) -> HttpResponse:
    """The payload or the output, however large, as a file."""
    found = get_run(place.scope, parse_public_id("run", run))
    if part not in ("payload", "output"):
        raise NotFound
    data, kind = getattr(found, part), getattr(found, f"{part}_type")
    if data is None:
        raise NotFound(f"This run has no {part}")
    response = (
        _stored(place.scope.environment_id, data)
        if kind == packets.STORE
        else HttpResponse(data, content_type="application/octet-stream")
    )
    return _attached(response, f"{run}-{part}.{'txt' if kind == packets.TEXT else 'json'}")


@require_POST
@in_environment(Permission.RUNS_WRITE)
def cancellation(request: PageRequest, place: Place, run: str) -> HttpResponse:
    """The end of a run, before its time."""
    canceled = cancel_run(place.scope, run_id=parse_public_id("run", run), now=clock.now())
    messages.success(
        request, "The run was canceled." if canceled.is_final else "Its worker was told to stop it."
    )
    return redirect(places.address(place, "run", run=run))


@require_POST
@in_environment(Permission.RUNS_TRIGGER)
def replay(request: PageRequest, place: Place, run: str) -> HttpResponse:
    """The run once more, with another payload if one was written."""
    run_id, text = parse_public_id("run", run), request.POST.get("payload")
    overrides: dict[str, Any] = {}
    if text is not None and request.POST.get("is_edited"):
        try:
            json.loads(text)
        except ValueError as error:
            raise Invalid(f"The payload is not JSON: {error}") from None
        overrides = {"payload": text, "payload_type": packets.JSON}
    replayed = replay_run(place.scope, run_id=run_id, overrides=overrides, now=clock.now())
    messages.success(request, "This is the replay.")
    return redirect(places.address(place, "run", run=public_id("run", replayed.run_id)))


@require_POST
@in_environment(Permission.RUNS_WRITE)
def fork(request: PageRequest, place: Place, run: str) -> HttpResponse:
    """A new run that begins where this durable one had come to."""
    forked = fork_run(
        place.scope,
        run_id=parse_public_id("run", run),
        start=request.POST.get("from", ""),
        now=clock.now(),
    )
    messages.success(request, "This is the fork: it goes on from there.")
    return redirect(places.address(place, "run", run=public_id("run", forked.run_id)))


@require_safe
@in_environment(Permission.RUNS_READ)
def journal(request: PageRequest, place: Place, run: str) -> HttpResponse:
    """All that a durable run has done, page by page, or as a file."""
    run_id, form = parse_public_id("run", run), asked_form(request)
    asked = read_steps(request.GET)
    most = MOST_EXPORTED if form else STEPS_SHOWN
    found = list_steps(place.scope, run_id, asked, most=most + 1)
    rows = step_rows(found[:most])
    if form:
        return list_file(exported(rows), f"{run}-journal", form)
    context = {
        "run": get_run(place.scope, run_id),
        "run_name": run,
        "rows": rows,
        "asked": asked,
        "next": rows[-1].step.seq if len(found) > most else None,
    }
    return page(request, "journal/page.html", context, section="runs")


def _levels(asked: QueryDict) -> list[str]:
    return [level for level in asked.getlist("level") if level in LEVELS]


def _place(text: str) -> LogCursor:
    time, _, sequence = text.partition("-")
    parts = (time, sequence)
    if not all(part.isascii() and part.isdecimal() and len(part) <= 20 for part in parts):
        raise Invalid("This is not a place in a log")
    if int(time) >= 2**63 or int(sequence) >= 2**64:
        raise Invalid("This is not a place in a log")
    return LogCursor(time_ns=int(time), sequence=int(sequence))


def _stored(environment_id: UUID, key: str) -> HttpResponse:
    # Whoever triggered the run chose the key: it must not lead to another environment's.
    if not set(key.split("/")).isdisjoint(("", ".", "..")):
        raise NotFound("It is not in object storage")
    try:
        with default_storage.open(f"packets/{environment_id}/{key}", "rb") as content:
            return HttpResponse(content.read(), content_type="application/octet-stream")
    except FileNotFoundError:
        raise NotFound("It is not in object storage any more") from None


def _attached(response: HttpResponse, name: str) -> HttpResponse:
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
