"""An organization as a whole: its projects, its name, its end; and the first steps of a new one."""

from __future__ import annotations

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.core import clock
from apps.core.errors import Invalid
from apps.dashboard.pages import for_people, in_organization, page, person
from apps.dashboard.refusals import refusals
from apps.dashboard.requests import OrganizationPlace, PageRequest
from apps.environments.operations.life import found_organization, start_project
from apps.orgs.operations.organizations import rename_organization
from apps.orgs.permissions import Permission, require
from apps.orgs.queries import get_organization, list_organizations
from apps.projects.operations import delete_organization
from apps.projects.queries import list_projects


class NameForm(forms.Form):
    """A name."""

    name = forms.CharField(max_length=100)


class FoundingForm(forms.Form):
    """What a new organization and its first project are called, and who founds it."""

    person = forms.CharField(max_length=100, required=False)
    organization = forms.CharField(max_length=100)
    project = forms.CharField(max_length=100)


@require_http_methods(["GET", "POST"])
@for_people
def welcome(request: PageRequest) -> HttpResponse:
    """Found an organization with a project; the names are proposed, and may be changed later."""
    someone = person(request)
    called = someone.name or someone.email.partition("@")[0].replace(".", " ").title()
    proposed = {"person": someone.name, "organization": called, "project": "My project"}
    form = FoundingForm(request.POST or None, initial=proposed)
    if request.method == "POST" and form.is_valid():
        with refusals(form):
            project = found_organization(
                someone,
                name=form.cleaned_data["organization"],
                project_name=form.cleaned_data["project"],
                person_name=form.cleaned_data["person"],
                now=clock.now(),
            )
            return redirect(_first_steps(project.organization.slug, project.slug))
    context = {"form": form, "organizations": list_organizations(someone)}
    return page(request, "people/welcome.html", context)


@require_safe
@in_organization(Permission.PROJECTS_READ)
def projects(request: PageRequest, place: OrganizationPlace) -> HttpResponse:
    """The projects of an organization."""
    context = {"projects": list_projects(place.scope)}
    return page(request, "people/projects.html", context, section="projects")


@require_POST
@in_organization(Permission.PROJECTS_WRITE)
def project_creation(request: PageRequest, place: OrganizationPlace) -> HttpResponse:
    """Start a project, and show its first steps."""
    made = start_project(place.scope, name=request.POST.get("name", ""), now=clock.now())
    return redirect(_first_steps(place.organization_slug, made.slug))


@require_http_methods(["GET", "POST"])
@in_organization(Permission.PROJECTS_READ)
def settings(request: PageRequest, place: OrganizationPlace) -> HttpResponseBase:
    """The name and the end of an organization."""
    form = NameForm(request.POST or None, initial={"name": place.organization_name})
    if request.method == "POST":
        require(place.scope.actor, Permission.ORGANIZATION_WRITE)
    if request.method == "POST" and form.is_valid():
        with refusals(form):
            rename_organization(place.scope, name=form.cleaned_data["name"], now=clock.now())
            messages.success(request, "The organization was renamed.")
            return redirect("dashboard:organization_settings", organization=place.organization_slug)
    context = {
        "form": form,
        "organization": get_organization(place.scope),
        "projects": list_projects(place.scope),
    }
    return page(request, "people/organization.html", context, section="organization_settings")


@require_POST
@in_organization(Permission.ORGANIZATION_DELETE)
def deletion(request: PageRequest, place: OrganizationPlace) -> HttpResponse:
    """Delete the organization, whose name has to be typed."""
    if request.POST.get("typed", "").strip() != place.organization_name:
        raise Invalid("The name that you typed is not the organization's: nothing was deleted")
    delete_organization(place.scope, now=clock.now())
    messages.success(request, f"{place.organization_name} was deleted.")
    return redirect("/")


def _first_steps(organization: str, project: str) -> str:
    kwargs = {"organization": organization, "project": project, "env": "dev"}
    return reverse("dashboard:start", kwargs=kwargs)
