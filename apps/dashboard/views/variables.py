"""The variables of an environment."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from apps.core import clock
from apps.dashboard import places
from apps.dashboard.exports import asked_form, list_file
from apps.dashboard.lists import By, listed
from apps.dashboard.pages import in_environment, page
from apps.dashboard.refusals import refusals
from apps.dashboard.requests import PageRequest
from apps.environments.access import Place
from apps.environments.dotenv import parse_dotenv
from apps.environments.operations import variables
from apps.environments.queries import list_variables
from apps.orgs.permissions import Permission, require

_ORDERS = {
    "name": By(lambda variable: variable.name),
    "changed": By(lambda variable: variable.updated_at, most=True),
}


class VariableForm(forms.Form):
    """A variable; its value is kept as it is typed, with spaces and line breaks."""

    name = forms.CharField(max_length=255)
    value = forms.CharField(required=False, strip=False, widget=forms.Textarea)
    is_secret = forms.BooleanField(required=False)
    is_new = forms.BooleanField(required=False)


class ImportForm(forms.Form):
    """The text of a .env file."""

    text = forms.CharField(widget=forms.Textarea)
    is_secret = forms.BooleanField(required=False)
    override = forms.BooleanField(required=False)


@never_cache
@require_http_methods(["GET", "POST"])
@in_environment(Permission.VARIABLES_READ)
def variable_list(request: PageRequest, place: Place) -> HttpResponseBase:
    """All of them; a POST adds one, or changes its value."""
    form = VariableForm(request.POST or None)
    if request.method == "POST":
        require(place.scope.actor, Permission.VARIABLES_WRITE)
    if request.method == "POST" and form.is_valid():
        said, now = form.cleaned_data, clock.now()
        write = variables.create_variable if said["is_new"] else variables.set_variable
        value = said["value"].replace("\r\n", "\n")  # as forms send every line break
        with refusals(form):
            write(place.scope, name=said["name"], value=value, is_secret=said["is_secret"], now=now)
            messages.success(request, f"{said['name']} was saved; workers that start get it.")
            return redirect(places.address(place, "variables"))
    found = listed(request, list_variables(place.scope), text=_text, orders=_ORDERS)
    if wanted := asked_form(request):
        return list_file(map(_exported, found.rows), "variables", wanted)
    context = {"variables": found.rows, "found": found, "form": form}
    return page(request, "people/variables.html", context, section="variables")


@require_POST
@in_environment(Permission.VARIABLES_WRITE)
def variable_import(request: PageRequest, place: Place) -> HttpResponse:
    """Add what a .env file says, all or none."""
    form = ImportForm(request.POST)
    if form.is_valid():
        written = variables.import_variables(
            place.scope,
            variables=parse_dotenv(form.cleaned_data["text"]),
            is_secret=form.cleaned_data["is_secret"],
            override=form.cleaned_data["override"],
            now=clock.now(),
        )
        number = len(written)
        messages.success(request, f"{number} variable{'' if number == 1 else 's'} imported.")
    return redirect(places.address(place, "variables"))


@require_POST
@in_environment(Permission.VARIABLES_WRITE)
def variable_deletion(request: PageRequest, place: Place, name: str) -> HttpResponse:
    """Remove one."""
    variables.delete_variable(place.scope, name=name, now=clock.now())
    messages.success(request, f"{name} was deleted.")
    return redirect(places.address(place, "variables"))


def _text(variable: Any) -> str:
    return str(variable.name)


def _exported(variable: Any) -> dict[str, Any]:
    """What the page shows; a secret value is not in any file."""
    return {
        "name": variable.name,
        "value": None if variable.is_secret else variable.value,
        "is_secret": variable.is_secret,
        "changed_at": variable.updated_at.isoformat(),
    }
