"""When tasks run by themselves: the list, what comes, and one schedule with its latest times."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from itertools import groupby
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.core import clock
from apps.core.errors import DomainError, Forbidden
from apps.core.ids import new_id, parse_public_id, public_id
from apps.core.recurrence import timezones
from apps.dashboard import places
from apps.dashboard.cursors import asked_page, pager
from apps.dashboard.exports import asked_form, list_file
from apps.dashboard.lists import asked_choice, asked_text
from apps.dashboard.pages import in_environment, page
from apps.dashboard.requests import PageRequest
from apps.dashboard.schedule_form import BEGUN, FIELDS, read_schedule, reasons, shown_schedule
from apps.dashboard.values import shown, value_of
from apps.deployments.queries import current_version, tasks_of
from apps.environments.access import Place
from apps.orgs.permissions import Permission
from apps.schedules import queries
from apps.schedules.operations.manage import (
    activate_schedule,
    create_schedule,
    deactivate_schedule,
    delete_schedule,
    update_schedule,
)
from apps.schedules.policy import PREFIX
from apps.schedules.states import Missed, Overlap
from holdfast import packets
from holdfast.machines import MACHINES

_COMING_DAYS = 7
_COMING = 500
_NEXT = 10
_STATES = {"active": True, "inactive": False}


@require_safe
@in_environment(Permission.SCHEDULES_READ)
def schedule_list(request: PageRequest, place: Place) -> HttpResponse:
    """The schedules of an environment, or the calendar of what they will start."""
    if request.GET.get("view") == "calendar":
        return _calendar(request, place)
    asked, text = asked_page(request, PREFIX), asked_text(request)
    state = asked_choice(request, "state", _STATES)
    found = queries.schedules_page(place.scope, asked, text=text, is_active=_STATES.get(state))
    if form := asked_form(request):
        return list_file(map(_exported, found.items), "schedules", form)
    context = {
        "schedules": found.items,
        "text": text,
        "state": state,
        "pager": pager(asked, found, PREFIX),
    }
    return page(request, "schedules/page.html", context, section="schedules")


def _calendar(request: PageRequest, place: Place) -> HttpResponse:
    now = clock.now()
    until = now + timedelta(days=_COMING_DAYS)
    coming = queries.upcoming(place.scope, since=now, until=until, most=_COMING)
    context = {"days": list(_by_day(coming)), "is_cut": len(coming) == _COMING}
    return page(request, "schedules/calendar.html", context, section="schedules")


def _by_day(coming: Iterable[Any]) -> Iterable[tuple[date, list[Any]]]:
    for day, times in groupby(coming, key=lambda time: time.at.date()):
        yield day, list(times)


@require_safe
@in_environment(Permission.SCHEDULES_READ)
def schedule(request: PageRequest, place: Place, schedule: str) -> HttpResponse:
    """One schedule: its rule, its next times, and what became of the latest ones."""
    found = queries.get_schedule(place.scope, _id(schedule))
    now, options = clock.now(), found.options or {}
    context = {
        "schedule": found,
        "coming": queries.upcoming(
            place.scope, since=now, until=now + timedelta(days=366), most=_NEXT,
            schedule_id=found.pk,
        ),
        "ticks": queries.list_ticks(place.scope, found.pk, most=50),
        "problem": queries.problem_of(place.scope, found, now=now),
        "payload": value_of(found.payload, found.payload_type or packets.JSON),
        "metadata": shown(options["metadata"]) if "metadata" in options else None,
    }  # fmt: skip
    return page(request, "schedules/one.html", context, section="schedules")


@require_http_methods(["GET", "POST"])
@in_environment(Permission.SCHEDULES_WRITE)
def new_schedule(request: PageRequest, place: Place) -> HttpResponseBase:
    """A form for a schedule; what is refused is shown beside its field."""
    now = clock.now()
    if request.method != "POST":
        begun = {name: request.GET.get(name, "") for name in FIELDS}
        return _form(request, place, {**begun, **BEGUN}, {})
    values = _values(request)
    try:
        asked = read_schedule(values, now=now)
        made = create_schedule(place.scope, request=asked, deduplication_key=str(new_id()), now=now)
    except Forbidden:
        raise
    except DomainError as error:
        return _form(request, place, values, reasons(error), status=error.status)
    messages.success(request, f"{made.task} runs by itself from now on.")
    return redirect(places.address(place, "schedule", schedule=public_id(PREFIX, made.pk)))


@require_http_methods(["GET", "POST"])
@in_environment(Permission.SCHEDULES_WRITE)
def edit_schedule(request: PageRequest, place: Place, schedule: str) -> HttpResponseBase:
    """The same form for a schedule that is there."""
    known, now = queries.get_schedule(place.scope, _id(schedule)), clock.now()
    if request.method != "POST":
        return _form(request, place, shown_schedule(known), {}, known=known)
    values = _values(request)
    try:
        asked = read_schedule(values, now=now, known=known)
        update_schedule(place.scope, schedule_id=known.pk, request=asked, now=now)
    except Forbidden:
        raise
    except DomainError as error:
        return _form(request, place, values, reasons(error), known=known, status=error.status)
    messages.success(request, "The schedule is changed.")
    return redirect(places.address(place, "schedule", schedule=schedule))


def _values(request: PageRequest) -> dict[str, str]:
    return {name: request.POST.get(name, "").strip() for name in FIELDS}


def _form(
    request: PageRequest,
    place: Place,
    values: dict[str, str],
    errors: dict[str, list[str]],
    *,
    known: Any = None,
    status: int = 200,
) -> HttpResponse:
    current = current_version(place.scope)
    tasks = tasks_of(place.scope, current.id) if current else []
    context = {
        "values": values,
        "errors": errors,
        "tasks": [(task.slug, task.slug) for task in tasks],
        "timezones": [(name, name) for name in timezones()],
        "overlaps": [(value.value, value.value.capitalize()) for value in Overlap],
        "misses": [(value.value, value.value.capitalize()) for value in Missed],
        "machines": [("", "As the task says"), *((name, name) for name in MACHINES)],
        "known": known,
    }
    return page(request, "schedules/form.html", context, section="schedules", status=status)


@require_POST
@in_environment(Permission.SCHEDULES_WRITE)
def schedule_activation(request: PageRequest, place: Place, schedule: str) -> HttpResponseBase:
    """Let it tick, or stop it from ticking."""
    act = deactivate_schedule if request.POST.get("active") == "no" else activate_schedule
    changed = act(place.scope, schedule_id=_id(schedule), now=clock.now())
    told = "It ticks again." if changed.is_active else "It ticks no more until it is activated."
    messages.success(request, told)
    return redirect(places.address(place, "schedule", schedule=schedule))


@require_POST
@in_environment(Permission.SCHEDULES_WRITE)
def schedule_deletion(request: PageRequest, place: Place, schedule: str) -> HttpResponseBase:
    """The end of a schedule; its runs stay."""
    delete_schedule(place.scope, schedule_id=_id(schedule), now=clock.now())
    messages.success(request, "The schedule is deleted; its runs stay.")
    return redirect(places.address(place, "schedules"))


def _exported(schedule: Any) -> dict[str, Any]:
    return {
        "id": public_id(PREFIX, schedule.pk),
        "task": schedule.task,
        "external_id": schedule.external_id,
        "when": schedule.in_words,
        "cron": schedule.cron,
        "timezone": schedule.timezone,
        "kind": schedule.kind,
        "is_active": schedule.is_active,
        "latest_at": schedule.latest_at.isoformat() if schedule.latest_at else None,
        "next_at": schedule.due_at.isoformat() if schedule.due_at else None,
        "created_at": schedule.created_at.isoformat(),
    }


def _id(spelled: str) -> UUID:
    return parse_public_id(PREFIX, spelled)
