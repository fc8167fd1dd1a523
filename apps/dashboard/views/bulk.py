"""Runs that are canceled or replayed together: how far it is, and stopping it."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from apps.core import clock
from apps.core.ids import parse_public_id
from apps.dashboard import places
from apps.dashboard.cursors import asked_page, neighbours
from apps.dashboard.pages import in_environment, page
from apps.dashboard.requests import PageRequest
from apps.environments.access import Place
from apps.orgs.permissions import Permission
from apps.runs.operations.bulk import abort_bulk_action
from apps.runs.queries import bulk_items, get_bulk_action, list_bulk_actions

_PREFIX = "bulk"


@require_safe
@in_environment(Permission.RUNS_READ)
def bulk_list(request: PageRequest, place: Place) -> HttpResponse:
    """The bulk actions of an environment, newest first."""
    found = list_bulk_actions(place.scope, asked_page(request, _PREFIX))
    context = {"actions": found.items, **neighbours(found, _PREFIX)}
    return page(request, "bulk/page.html", context, section="bulk_actions")


@require_safe
@in_environment(Permission.RUNS_READ)
def bulk_action(request: PageRequest, place: Place, action: str) -> HttpResponse:
    """One bulk action: what it was to do, what it did, and what it could not."""
    action_id = parse_public_id(_PREFIX, action)
    context = {
        "action": get_bulk_action(place.scope, action_id),
        "failed": bulk_items(place.scope, action_id, only_failed=True),
    }
    template = "bulk/_one.html" if request.htmx else "bulk/one.html"
    return page(request, template, context, section="bulk_actions")


@require_POST
@in_environment(Permission.RUNS_WRITE)
def bulk_abortion(request: PageRequest, place: Place, action: str) -> HttpResponseBase:
    """The early end of a bulk action; what was done stays done."""
    action_id = parse_public_id(_PREFIX, action)
    abort_bulk_action(place.scope, bulk_action_id=action_id, now=clock.now())
    messages.success(request, "No further run is touched; what was done stays done.")
    return redirect(places.address(place, "bulk_action", action=action))
