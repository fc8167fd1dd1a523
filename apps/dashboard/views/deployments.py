"""What has been shipped, what is current, and what went wrong."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from apps.core import clock
from apps.core.errors import Conflict, NotFound
from apps.core.ids import parse_public_id, public_id
from apps.dashboard import places
from apps.dashboard.exports import csv_file
from apps.dashboard.pages import in_environment, page
from apps.dashboard.requests import PageRequest
from apps.deployments.operations.shipping import cancel_deployment
from apps.deployments.operations.versions import promote_version
from apps.deployments.queries import (
    current_version,
    get_deployment,
    list_deployments,
    tasks_of,
)
from apps.environments.access import Place
from apps.orgs.permissions import Permission

STATUSES = ("PENDING", "BUILDING", "DEPLOYING", "DEPLOYED", "FAILED", "CANCELED", "TIMED_OUT")
_PAGE_SIZE = 25
_EXPORTED = 1_000
_SHOWN_LOG = 200_000  # characters, from the end


@require_safe
@in_environment(Permission.DEPLOYMENTS_READ)
def deployment_list(request: PageRequest, place: Place) -> HttpResponse:
    """The deployments of an environment, newest first."""
    status = request.GET.get("status")
    status = status if status in STATUSES else None
    if form := request.GET.get("export"):
        return _export(list_deployments(place.scope, size=_EXPORTED, status=status), form)
    before = _cursor(request)
    found = list_deployments(place.scope, before=before, size=_PAGE_SIZE + 1, status=status)
    shown = found[:_PAGE_SIZE]
    context = {
        "deployments": shown,
        "current": current_version(place.scope),
        "older": public_id("deployment", shown[-1].id) if len(found) > _PAGE_SIZE else None,
        "is_first": before is None,
        "status": status or "",
        "statuses": STATUSES,
    }
    template = "deployments/_list.html" if request.htmx else "deployments/page.html"
    return page(request, template, context, section="deployments")


@require_safe
@in_environment(Permission.DEPLOYMENTS_READ)
def deployment(request: PageRequest, place: Place, deployment: str) -> HttpResponse:
    """One deployment: what became of it, its tasks, its log."""
    found = get_deployment(place.scope, parse_public_id("deployment", deployment))
    current = current_version(place.scope)
    context = {
        "deployment": found,
        "current": current,
        "tasks": tasks_of(place.scope, found.version.id) if found.version else [],
        "log": found.log[-_SHOWN_LOG:],
        "is_log_cut": len(found.log) > _SHOWN_LOG,
        "is_current": bool(current and found.version and current.id == found.version.id),
        "is_older": bool(current and found.version and found.version.id < current.id),
        "is_open": found.status in ("PENDING", "BUILDING", "DEPLOYING"),
    }
    template = "deployments/_one.html" if request.htmx else "deployments/one.html"
    return page(request, template, context, section="deployments")


@require_POST
@in_environment(Permission.DEPLOYMENTS_WRITE)
def promotion(request: PageRequest, place: Place, deployment: str) -> HttpResponseBase:
    """New runs get this deployment's version; for an older one that is a rollback."""
    found = get_deployment(place.scope, parse_public_id("deployment", deployment))
    if found.version is None:
        raise Conflict("This deployment has made no version")
    promote_version(place.scope, number=found.version.number, now=clock.now())
    messages.success(request, f"New runs get version {found.version.number} from now on.")
    return redirect(places.address(place, "deployment", deployment=deployment))


@require_POST
@in_environment(Permission.DEPLOYMENTS_WRITE)
def deployment_cancellation(
    request: PageRequest, place: Place, deployment: str
) -> HttpResponseBase:
    """The end of a deployment that is not done."""
    deployment_id = parse_public_id("deployment", deployment)
    cancel_deployment(place.scope, deployment_id=deployment_id, now=clock.now())
    messages.success(request, "The deployment was canceled; nothing has changed for runs.")
    return redirect(places.address(place, "deployment", deployment=deployment))


def _cursor(request: PageRequest) -> UUID | None:
    try:
        return parse_public_id("deployment", request.GET.get("after", ""))
    except NotFound:
        return None


def _export(deployments: list[Any], form: str) -> HttpResponse:
    rows = [
        {
            "id": public_id("deployment", each.id),
            "short_code": each.short_code,
            "status": each.status,
            "version": each.version.number if each.version else None,
            "commit": (each.git or {}).get("commitSha"),
            "branch": (each.git or {}).get("branch"),
            "created_at": each.created_at.isoformat(),
            "finished_at": each.finished_at.isoformat() if each.finished_at else None,
        }
        for each in deployments
    ]
    return csv_file(rows, "deployments") if form == "csv" else JsonResponse(rows, safe=False)
