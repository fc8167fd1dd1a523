"""What the command palette finds: pages, tasks and environments by name."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.http import JsonResponse
from django.urls import NoReverseMatch, reverse
from django.views.decorators.http import require_safe

from apps.dashboard import navigation, places
from apps.dashboard.pages import in_environment
from apps.dashboard.requests import PageRequest
from apps.deployments.queries import current_version, tasks_of
from apps.environments.access import Place
from apps.environments.queries import list_environments
from apps.orgs.permissions import Permission


@require_safe
@in_environment(Permission.PROJECTS_READ)
def palette(request: PageRequest, place: Place) -> JsonResponse:
    """All entries at once; the page searches them as one types."""
    entries = [_page(place, entry) for entry in navigation.entries(place, request.can)]
    entries += _tasks(place, can_test=request.can["runs_trigger"])
    entries += _environments(place)
    return JsonResponse({"entries": entries})


def _page(place: Place, entry: navigation.Entry) -> dict[str, Any]:
    """An address in the environment, or else in its organization."""
    try:
        href = places.address(place, entry.page)
    except NoReverseMatch:
        slug = {"organization": place.organization_slug}
        href = reverse(f"dashboard:{entry.page}", kwargs=slug)
    return _entry("Pages", entry.title, entry.icon, href, hint=entry.caps)


def _tasks(place: Place, *, can_test: bool) -> list[dict[str, Any]]:
    version = current_version(place.scope)
    slugs = [task.slug for task in tasks_of(place.scope, version.id)] if version else []
    test = places.address(place, "test")
    entries = []
    for slug in slugs:
        asked = urlencode({"task": slug})
        href = places.address(place, "task", task=slug)
        entries.append(_entry("Tasks", slug, "blocks", href, hint="Task"))
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
