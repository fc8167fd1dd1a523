"""Where a visit begins, and how one goes from place to place."""

from __future__ import annotations

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_safe

from apps.core import clock
from apps.core.errors import NotFound
from apps.dashboard import places
from apps.dashboard.pages import PLACE_COOKIE, for_people, in_environment, page, person
from apps.dashboard.requests import PageRequest
from apps.environments.access import Place, place_of_user
from apps.environments.queries import list_branches_of_project, list_environments
from apps.environments.types import EnvironmentType
from apps.orgs.permissions import Permission
from apps.projects.queries import list_projects_of


@require_safe
@for_people
def home(request: PageRequest) -> HttpResponseBase:
    """The environment of the latest visit, else the first one there is."""
    if place := _latest(request):
        return redirect(places.address(place, "runs"))
    for project in list_projects_of(person(request)):
        kwargs = {
            "organization": project.organization.slug,
            "project": project.slug,
            "env": EnvironmentType.PRODUCTION.slug,
        }
        return redirect(reverse("dashboard:runs", kwargs=kwargs))
    return redirect("dashboard:welcome")


@require_safe
@in_environment(Permission.PROJECTS_READ)
def switcher(request: PageRequest, place: Place) -> HttpResponse:
    """The menu of all projects of all of the visitor's organizations."""
    projects = list_projects_of(person(request))
    env = EnvironmentType(place.environment_type).slug
    return page(request, "dashboard/_switcher.html", {"projects": projects, "env": env})


@require_safe
@in_environment(Permission.ENVIRONMENTS_READ)
def environments(request: PageRequest, place: Place) -> HttpResponse:
    """The menu of the project's environments; it leads to the same section in each."""
    found = list_environments(place.scope.organization, project_ref=place.project_ref)
    branches = list_branches_of_project(place.scope.organization, project_ref=place.project_ref)
    section = request.GET.get("section", "runs")
    links = [
        {
            "environment": each,
            "href": _sibling(place, each.slug, each.branch, section),
            "is_here": each.id == place.scope.environment_id,
        }
        for each in [*found, *branches]
    ]
    return page(request, "dashboard/_environments.html", {"links": links})


def _latest(request: PageRequest) -> Place | None:
    words = request.COOKIES.get(PLACE_COOKIE, "").split("/")
    if len(words) != 3:
        return None
    organization, project, env = words
    slug, branch = places.parse(env)
    try:
        return place_of_user(person(request), organization, project, slug, branch, now=clock.now())
    except NotFound:
        return None  # no longer theirs


def _sibling(place: Place, slug: str, branch: str | None, section: str) -> str:
    known = {"runs", "tasks", "test", "deployments"}
    page = section if section in known else "runs"
    return places.address_in(place, page, env=places.spell(slug, branch))
