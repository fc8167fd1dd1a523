"""A project's settings, and its first steps, which tick themselves off."""

from __future__ import annotations

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.core import clock
from apps.core.errors import Invalid
from apps.core.paging import CursorPage
from apps.dashboard import places
from apps.dashboard.pages import in_environment, page
from apps.dashboard.refusals import refusals
from apps.dashboard.requests import PageRequest
from apps.deployments.queries import current_version
from apps.environments.access import Place
from apps.environments.operations import life
from apps.environments.queries import current_key, get_environment
from apps.orgs.permissions import Permission, allows, require
from apps.projects.operations import archive_project, rename_project
from apps.runs.feed import latest_cursor
from apps.runs.queries import RunFilters, list_runs

_TRIGGER = "holdfast trigger hello --payload '\"world\"'"  # quotes that no attribute can hold


class NameForm(forms.Form):
    """What the project is called."""

    name = forms.CharField(max_length=100)


@require_http_methods(["GET", "POST"])
@in_environment(Permission.PROJECTS_READ)
def settings(request: PageRequest, place: Place) -> HttpResponseBase:
    """Name, ref, limits, pause and end of a project."""
    form = NameForm(request.POST or None, initial={"name": place.project_name})
    if request.method == "POST":
        require(place.scope.actor, Permission.PROJECTS_WRITE)
    if request.method == "POST" and form.is_valid():
        with refusals(form):
            rename_project(
                place.scope.organization,
                project_id=place.scope.project_id,
                name=form.cleaned_data["name"],
                now=clock.now(),
            )
            messages.success(request, "The project was renamed.")
            return _back(place)
    context = {"form": form, "environment": get_environment(place.scope)}
    return page(request, "people/project.html", context, section="project_settings")


@require_POST
@in_environment(Permission.ENVIRONMENTS_WRITE)
def limits(request: PageRequest, place: Place) -> HttpResponse:
    """Say how many runs the environment executes at once, and its share beside others."""
    said = request.POST.get("concurrency_limit", "")
    if not said.isdecimal() or len(said) > 9:
        raise Invalid("The limit must be a whole number")
    weight = _weight(request.POST.get("weight", ""))
    life.change_limits(place.scope, concurrency_limit=int(said), weight=weight, now=clock.now())
    messages.success(request, f"At most {int(said):,} runs execute here at once.")
    return _back(place)


def _weight(said: str) -> float | None:
    try:
        return float(said) if said else None
    except ValueError:
        raise Invalid("The weight must be a number") from None


@require_POST
@in_environment(Permission.ENVIRONMENTS_WRITE)
def pause(request: PageRequest, place: Place) -> HttpResponse:
    """Start no more runs, or start them again."""
    if request.POST.get("answer") == "resume":
        life.resume_environment(place.scope, now=clock.now())
        messages.success(request, "Runs start again.")
    else:
        life.pause_environment(place.scope, now=clock.now())
        messages.success(request, "Nothing new starts; what executes goes on.")
    return _back(place)


@require_POST
@in_environment(Permission.PROJECTS_WRITE)
def deletion(request: PageRequest, place: Place) -> HttpResponse:
    """Put the project away, whose name has to be typed."""
    if request.POST.get("typed", "").strip() != place.project_name:
        raise Invalid("The name that you typed is not the project's: nothing was deleted")
    archive_project(place.scope.organization, project_id=place.scope.project_id, now=clock.now())
    messages.success(request, f"{place.project_name} was deleted.")
    return redirect("dashboard:projects", organization=place.organization_slug)


@never_cache
@require_safe
@in_environment(Permission.RUNS_READ)
def start(request: PageRequest, place: Place) -> HttpResponse:
    """Install, write a task, run it: each step is ticked off when Holdfast has seen it."""
    # Before all that is shown: what these queries miss, the stream tells.
    live_cursor = None if request.htmx else latest_cursor(now=clock.now())
    runs = list_runs(place.scope, RunFilters(), CursorPage(size=1)).items
    context = {
        "live_cursor": live_cursor,
        "version": current_version(place.scope),
        "run": runs[0] if runs else None,
        "secret": current_key(place.scope)
        if allows(place.scope.actor, Permission.KEYS_READ)
        else "",
        "trigger": _TRIGGER,
        "address": request.build_absolute_uri("/").rstrip("/"),
    }
    template = "people/_steps.html" if request.htmx else "people/start.html"
    return page(request, template, context, section="start")


def _back(place: Place) -> HttpResponse:
    return redirect(places.address(place, "project_settings"))
