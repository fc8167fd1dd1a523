"""Runs that are canceled or replayed together: how far it is, and stopping it."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from apps.core import clock
from apps.core.ids import parse_public_id, public_id
from apps.dashboard import places
from apps.dashboard.cursors import asked_page, pager
from apps.dashboard.exports import asked_form, list_file
from apps.dashboard.lists import asked_choice, choices
from apps.dashboard.pages import in_environment, page
from apps.dashboard.requests import PageRequest
from apps.environments.access import Place
from apps.orgs.permissions import Permission
from apps.runs.operations.bulk import abort_bulk_action
from apps.runs.queries import bulk_items, get_bulk_action, list_bulk_actions
from apps.runs.states import BulkKind, BulkStatus

_PREFIX = "bulk"


@require_safe
@in_environment(Permission.RUNS_READ)
def bulk_list(request: PageRequest, place: Place) -> HttpResponse:
    """The bulk actions of an environment, as a page or as a file."""
    asked = asked_page(request, _PREFIX)
    kind = asked_choice(request, "kind", BulkKind)
    status = asked_choice(request, "status", BulkStatus)
    found = list_bulk_actions(
        place.scope,
        asked,
        kinds=[kind] if kind else [],
        statuses=[status] if status else [],
    )
    if form := asked_form(request):
        return list_file(map(_exported, found.items), "bulk-actions", form)
    context = {
        "actions": found.items,
        "pager": pager(asked, found, _PREFIX),
        "kind": kind,
        "status": status,
        "kinds": choices(BulkKind, "Any kind"),
        "statuses": choices(BulkStatus, "Any status"),
    }
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


def _exported(action: Any) -> dict[str, Any]:
    return {
        "id": public_id(_PREFIX, action.pk),
        "kind": action.kind,
        "name": action.name,
        "status": action.status,
        "done": action.success_count,
        "failed": action.failure_count,
        "of": action.total_count,
        "created_at": action.created_at.isoformat(),
        "completed_at": action.completed_at.isoformat() if action.completed_at else None,
    }
