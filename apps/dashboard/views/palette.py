"""What the command palette finds: pages, tasks and environments by name."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.http import JsonResponse
from django.views.decorators.http import require_safe

from apps.dashboard import places
from apps.dashboard.pages import in_environment
from apps.dashboard.requests import PageRequest
from apps.deployments.queries import current_version, tasks_of
from apps.environments.access import Place
from apps.environments.queries import list_environments
from apps.orgs.permissions import Permission

# Title, icon, the name of the address, and the permission that its page asks for.
PAGES = (
    ("Runs", "activity", "runs", "runs_read"),
    ("Tasks", "blocks", "tasks", "deployments_read"),
    ("Test", "flask-conical", "test", "runs_trigger"),
    ("Deployments", "rocket", "deployments", "deployments_read"),
    ("Queues", "list-filter", "queues", "queues_read"),
    ("Concurrency", "sliders-horizontal", "concurrency", "queues_read"),
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
    entries += _tasks(place, can_test=request.can["runs_trigger"])
    entries += _environments(place)
    return JsonResponse({"entries": entries})


def _tasks(place: Place, *, can_test: bool) -> list[dict[str, Any]]:
    version = current_version(place.scope)
    slugs = [task.slug for task in tasks_of(place.scope, version.id)] if version else []
    runs, test = places.address(place, "runs"), places.address(place, "test")
    entries = []
    for slug in slugs:
        asked = urlencode({"task": slug})
        entries.append(_entry("Tasks", slug, "blocks", f"{runs}?{asked}", hint="Runs"))
        if can_test:
            entries.append(_entry("Tasks", slug, "flask-conical", f"{test}?{asked}", hint="Test"))
    return entries


def _environments(place: Place) -> list[dict[str, Any]]:
    found = list_environments(place.scope.organization, project_ref=place.project_ref)
    return [
        _entry(
            "Environments",
            each.name,
            "layers",
            places.address_in(place, "runs", env=each.slug),
            hint=place.project_name,
        )
        for each in found
    ]


def _entry(kind: str, title: str, icon: str, href: str, *, hint: str) -> dict[str, Any]:
    return {"kind": kind, "title": title, "icon": icon, "href": href, "hint": hint}
