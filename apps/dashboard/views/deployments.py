"""What has been shipped, what is current, and what went wrong."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from apps.core import clock
from apps.core.errors import Conflict
from apps.core.ids import parse_public_id, public_id
from apps.dashboard import places
from apps.dashboard.cursors import asked_page, pager
from apps.dashboard.exports import asked_form, list_file
from apps.dashboard.lists import asked_choice, asked_text, choices
from apps.dashboard.pages import in_environment, page
from apps.dashboard.requests import PageRequest
from apps.deployments.operations.shipping import cancel_deployment
from apps.deployments.operations.versions import promote_version
from apps.deployments.queries import (
    current_version,
    deployments_page,
    get_deployment,
    tasks_of,
)
from apps.environments.access import Place
from apps.orgs.permissions import Permission

STATUSES = ("PENDING", "BUILDING", "DEPLOYING", "DEPLOYED", "FAILED", "CANCELED", "TIMED_OUT")
_SHOWN_LOG = 200_000  # characters, from the end


@require_safe
@in_environment(Permission.DEPLOYMENTS_READ)
def deployment_list(request: PageRequest, place: Place) -> HttpResponse:
    """The deployments of an environment, as a page or as a file."""
    asked, text = asked_page(request, "deployment"), asked_text(request)
    status = asked_choice(request, "status", STATUSES)
    found = deployments_page(place.scope, asked, status=status, text=text)
    if form := asked_form(request):
        return list_file(map(_exported, found.items), "deployments", form)
    context = {
        "deployments": found.items,
        "current": current_version(place.scope),
        "pager": pager(asked, found, "deployment"),
        "text": text,
        "status": status,
        "statuses": choices(STATUSES, "Any status"),
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


def _exported(deployment: Any) -> dict[str, Any]:
    git, ended = deployment.git or {}, deployment.finished_at
    return {
        "id": public_id("deployment", deployment.id),
        "short_code": deployment.short_code,
        "status": deployment.status,
        "version": deployment.version.number if deployment.version else None,
        "commit": git.get("commitSha"),
        "branch": git.get("branch"),
        "created_at": deployment.created_at.isoformat(),
        "finished_at": ended.isoformat() if ended else None,
    }
