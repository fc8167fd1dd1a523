"""Queues and the limits above them: what waits, what executes, and what people may change."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from apps.core import clock
from apps.core.errors import DomainError, Forbidden, Invalid, NotFound
from apps.core.ids import public_id
from apps.core.paging import CursorPage
from apps.dashboard import places
from apps.dashboard.exports import MOST_EXPORTED, asked_form, list_file
from apps.dashboard.lists import By, asked_choice, asked_text, listed
from apps.dashboard.pages import in_environment, page, person
from apps.dashboard.requests import PageRequest
from apps.deployments import queries
from apps.deployments.operations import queues as operations
from apps.environments.access import Place
from apps.orgs.permissions import Permission
from apps.runs.queries import QueueLoad, RunFilters, holders, list_runs, queue_loads
from apps.runs.states import RunStatus
from apps.runs.usage import key_loads, standing

COUNTED = 1_000  # a page counts no further: "1,000+" says enough
_SHOWN = 200
_KEYS = 50
_HOLDERS = 50
_QUEUED = 10
_LIVES = (("1", "1 hour"), ("24", "1 day"), ("168", "7 days"), ("720", "30 days"))
_TYPES = {"task": "Of tasks", "custom": "Custom"}
_FIELDS = {"per_key": "concurrencyLimit", "total": "total"}


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRow:
    """A queue beside its load, in the words of a page."""

    queue: Any
    load: QueueLoad

    @property
    def id(self) -> str:
        return public_id("queue", self.queue.id)

    @property
    def title(self) -> str:
        return title_of(self.queue)

    @property
    def is_more(self) -> bool:
        return self.load.queued >= COUNTED


_ORDERS = {
    "queue": By(lambda row: row.title.lower()),
    "queued": By(lambda row: row.load.queued, most=True),
    "running": By(lambda row: row.load.running, most=True),
}


def title_of(queue: Any) -> str:
    """A queue's name; that of a task's own queue is the task's."""
    name: str = queue.name
    return name.removeprefix("task/") if queue.type == "task" else name


@require_safe
@in_environment(Permission.QUEUES_READ)
def queue_list(request: PageRequest, place: Place) -> HttpResponse:
    """The queues of an environment, by name."""
    name, form = asked_text(request, "name"), asked_form(request)
    kind = asked_choice(request, "type", _TYPES)
    most = MOST_EXPORTED if form else _SHOWN
    queues = queries.list_queues(place.scope, named=name, kind=kind, most=most + 1)
    rows = _rows(place, queues[:most])
    found = listed(
        request, rows, text=lambda row: row.queue.name, orders=_ORDERS, name_of_text="name"
    )
    if form:
        return list_file(map(_exported, found.rows), "queues", form)
    context = {
        "rows": found.rows,
        "order": found.order,
        "name": name,
        "type": kind,
        "types": [("", "Any type"), *_TYPES.items()],
        "is_filtered": bool(name or kind),
        "is_cut": len(queues) > most,
        "shown": _SHOWN,
    }
    template = "queues/_list.html" if request.htmx else "queues/page.html"
    response = page(request, template, context, section="queues")
    response["Vary"] = "HX-Request"
    return response


@require_safe
@in_environment(Permission.QUEUES_READ)
def queue(request: PageRequest, place: Place, queue: str) -> HttpResponse:
    """One queue: its limits, its load by key, who holds its slots, and what comes next."""
    found = queries.get_queue_by_id(place.scope, queue)
    if request.htmx:
        return page(request, "queues/_load.html", _load(place, found))
    return _shown(request, place, found)


@require_safe
@in_environment(Permission.QUEUES_READ)
def concurrency(request: PageRequest, place: Place) -> HttpResponse:
    """All limits as they stand, from the organization down, and who holds the slots."""
    limited = list(queries.list_limited_queues(place.scope)[: _SHOWN + 1])
    context = {
        "standing": standing(place.scope),
        "rows": _rows(place, limited[:_SHOWN]),
        "is_cut": len(limited) > _SHOWN,
        "shown": _SHOWN,
        "holders": holders(place.scope, most=_HOLDERS),
        "most_holders": _HOLDERS,
    }
    template = "queues/_concurrency.html" if request.htmx else "queues/concurrency.html"
    response = page(request, template, context, section="queues")
    response["Vary"] = "HX-Request"
    return response


@require_POST
@in_environment(Permission.QUEUES_WRITE)
def queue_pause(request: PageRequest, place: Place, queue: str) -> HttpResponseBase:
    """Start no more runs of a queue, or start them again."""
    found = queries.get_queue_by_id(place.scope, queue)
    if request.POST.get("answer") == "resume":
        operations.resume_queue(place.scope, name=found.name, now=clock.now())
        messages.success(request, f"Runs of {title_of(found)} start again.")
    else:
        operations.pause_queue(place.scope, name=found.name, now=clock.now())
        messages.success(request, f"{title_of(found)} starts nothing new; what executes goes on.")
    if request.POST.get("from") == "list":
        asked = request.POST.get("query", "")
        return redirect(places.address(place, "queues") + (asked if asked[:1] == "?" else ""))
    return _back(place, queue)


@require_POST
@in_environment(Permission.QUEUES_WRITE)
def queue_limits(request: PageRequest, place: Place, queue: str) -> HttpResponseBase:
    """Other limits than those in code, or those in code again."""
    found = queries.get_queue_by_id(place.scope, queue)
    if request.POST.get("answer") == "reset":
        operations.reset_limits(place.scope, name=found.name, now=clock.now())
        messages.success(request, "The limits in code count again.")
        return _back(place, queue)
    values = {name: request.POST.get(name, "").strip() for name in _FIELDS}
    try:
        operations.override_limits(
            place.scope,
            name=found.name,
            per_key=_number(values, "per_key"),
            total=_number(values, "total"),
            by=person(request).get_full_name(),
            now=clock.now(),
        )
    except (Forbidden, NotFound):
        raise
    except DomainError as error:
        refused = {"values": values, "errors": _errors(error)}
        return _shown(request, place, found, refused, status=error.status)
    messages.success(request, "These limits count until they are reset; deploys leave them alone.")
    return _back(place, queue)


@require_POST
@in_environment(Permission.QUEUES_WRITE)
def queue_key(request: PageRequest, place: Place, queue: str) -> HttpResponseBase:
    """A limit of one concurrency key for a while, or the queue's own again."""
    found, key = queries.get_queue_by_id(place.scope, queue), request.POST.get("key", "")
    if request.POST.get("answer") == "reset":
        operations.reset_key(place.scope, name=found.name, key=key, now=clock.now())
        messages.success(request, f"The queue's limit counts for {key} again.")
        return _back(place, queue)
    limit = _number({"limit": request.POST.get("limit", "").strip()}, "limit")
    if limit is None:
        raise Invalid("Say how many runs of the key may execute at once")
    hours = request.POST.get("hours", "")
    operations.override_key(
        place.scope,
        name=found.name,
        key=key,
        per_key=limit,
        life=timedelta(hours=int(hours)) if hours in dict(_LIVES) else operations.KEY_OVERRIDE,
        now=clock.now(),
    )
    messages.success(request, f"At most {limit:,} runs of {key} execute at once.")
    return _back(place, queue)


def _shown(
    request: PageRequest,
    place: Place,
    found: Any,
    refused: dict[str, Any] | None = None,
    *,
    status: int = 200,
) -> HttpResponse:
    context = {
        **_load(place, found),
        "overrides": queries.list_key_overrides(place.scope, found.name, now=clock.now()),
        "values": {"per_key": found.override, "total": found.total_override},
        "lives": _LIVES,
        **(refused or {}),
    }
    response = page(request, "queues/one.html", context, section="queues", status=status)
    response["Vary"] = "HX-Request"
    return response


def _load(place: Place, found: Any) -> dict[str, Any]:
    """What moves by itself on the page of a queue."""
    filters = RunFilters(queues=(found.name,), statuses=(RunStatus.QUEUED.value,))
    keys = key_loads(place.scope, found.name, most=_KEYS + 1, most_queued=COUNTED, now=clock.now())
    return {
        "row": _rows(place, [found])[0],
        "queue": found,
        "counted": COUNTED,
        "standing": standing(place.scope),
        "keys": keys[:_KEYS],
        "are_keys_cut": len(keys) > _KEYS,
        "most_keys": _KEYS,
        "holders": holders(place.scope, queue=found.name, most=_HOLDERS),
        "most_holders": _HOLDERS,
        "queued": list_runs(place.scope, filters, CursorPage(size=_QUEUED)).items,
    }


def _rows(place: Place, found: list[Any]) -> list[QueueRow]:
    loads = queue_loads(place.scope, [each.name for each in found], most=COUNTED, now=clock.now())
    return [QueueRow(queue=each, load=loads[each.name]) for each in found]


def _exported(row: QueueRow) -> dict[str, Any]:
    queue = row.queue
    return {
        "id": row.id,
        "name": queue.name,
        "type": queue.type,
        "queued": row.load.queued,
        "is_queued_exact": not row.is_more,
        "running": row.load.running,
        "total_limit": queue.effective_total,
        "key_limit": queue.effective_limit,
        "is_paused": queue.paused_at is not None,
    }


def _number(values: dict[str, str], name: str) -> int | None:
    """A limit as it was typed; nothing typed is None."""
    said = values[name]
    if not said:
        return None
    if not (said.isascii() and said.isdecimal() and len(said) < 10):
        raise Invalid("A limit is a whole number", detail={_FIELDS.get(name, name): ["malformed"]})
    return int(said)


def _errors(error: DomainError) -> dict[str, list[str]]:
    named = [name for name, wire in _FIELDS.items() if wire in error.detail]
    return {name: [error.message] for name in named or ["problem"]}


def _back(place: Place, queue: str) -> HttpResponse:
    return redirect(places.address(place, "queue", queue=queue))
