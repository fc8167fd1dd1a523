"""What the command palette finds: pages, tasks and environments by name."""

from __future__ import annotations

from typing import Any

from django.http import JsonResponse
from django.views.decorators.http import require_safe

from apps.dashboard import places
from apps.dashboard.pages import in_environment
from apps.dashboard.requests import PageRequest
from apps.environments.access import Place
from apps.orgs.permissions import Permission

# Title, icon, the name of the address, and the permission that its page asks for.
PAGES = (
    ("Runs", "activity", "runs", "runs_read"),
    ("Tasks", "blocks", "tasks", "deployments_read"),
    ("Test", "flask-conical", "test", "runs_trigger"),
    ("Deployments", "rocket", "deployments", "deployments_read"),
)


@require_safe
@in_environment(Permission.PROJECTS_READ)
def palette(request: PageRequest, place: Place) -> JsonResponse:
    """All entries at once; the page searches them as one types."""
    entries: list[dict[str, Any]] = [
        {"kind": "Pages", "title": title, "icon": icon, "href": places.address(place, name)}
        for title, icon, name, permission in PAGES
        if request.can[permission]
    ]
    return JsonResponse({"entries": entries})
