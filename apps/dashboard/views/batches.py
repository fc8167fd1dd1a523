"""Runs that were triggered together."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from django.views.decorators.http import require_safe

from apps.core.ids import parse_public_id, public_id
from apps.dashboard.cursors import asked_page, pager
from apps.dashboard.exports import asked_form, list_file
from apps.dashboard.lists import asked_choice, choices
from apps.dashboard.pages import in_environment, page
from apps.dashboard.requests import PageRequest
from apps.environments.access import Place
from apps.orgs.permissions import Permission
from apps.runs.queries import batch_results, get_batch, list_batches
from apps.runs.states import BatchStatus

_PREFIX = "batch"
_ITEMS = 50


@require_safe
@in_environment(Permission.RUNS_READ)
def batch_list(request: PageRequest, place: Place) -> HttpResponse:
    """The batches of an environment, as a page or as a file."""
    asked, status = asked_page(request, _PREFIX), asked_choice(request, "status", BatchStatus)
    found = list_batches(place.scope, asked, statuses=[status] if status else [])
    if form := asked_form(request):
        return list_file(map(_exported, found.items), "batches", form)
    context = {
        "batches": found.items,
        "pager": pager(asked, found, _PREFIX),
        "status": status,
        "statuses": choices(BatchStatus, "Any status"),
    }
    return page(request, "batches/page.html", context, section="batches")


@require_safe
@in_environment(Permission.RUNS_READ)
def batch(request: PageRequest, place: Place, batch: str) -> HttpResponse:
    """One batch and a page of its items, in their order."""
    batch_id = parse_public_id(_PREFIX, batch)
    after = _index(request)
    items = batch_results(place.scope, batch_id, after=after, most=_ITEMS + 1)
    shown = items[:_ITEMS]
    context = {
        "batch": get_batch(place.scope, batch_id),
        "items": shown,
        "next": shown[-1].index if len(items) > _ITEMS else None,
        "is_first": after < 0,
    }
    return page(request, "batches/one.html", context, section="batches")


def _exported(batch: Any) -> dict[str, Any]:
    return {
        "id": public_id(_PREFIX, batch.pk),
        "status": batch.status,
        "runs": batch.run_count,
        "created_at": batch.created_at.isoformat(),
        "completed_at": batch.completed_at.isoformat() if batch.completed_at else None,
    }


def _index(request: PageRequest) -> int:
    asked = request.GET.get("from", "")
    return int(asked) if asked.isdecimal() and len(asked) < 8 else -1
