"""The secret keys of an environment."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from apps.core import clock
from apps.core.ids import parse_public_id, public_id
from apps.dashboard import places
from apps.dashboard.exports import asked_form, list_file
from apps.dashboard.lists import By, listed
from apps.dashboard.pages import in_environment, page
from apps.dashboard.refusals import refusals
from apps.dashboard.requests import PageRequest
from apps.environments.access import Place
from apps.environments.operations.keys import (
    create_key,
    may_write_keys,
    regenerate_key,
    require_key_write,
    revoke_key,
)
from apps.environments.queries import list_keys
from apps.orgs.permissions import Permission

LIFETIMES = (("", "no expiry"), ("30", "30 days"), ("90", "90 days"), ("365", "a year"))


_ORDERS = {
    "kind": By(lambda key: bool(key.name)),
    "name": By(lambda key: key.name.lower() or None),
    "made": By(lambda key: key.created_at, most=True),
    "ends": By(lambda key: key.expires_at),
}


class KeyForm(forms.Form):
    """A new key."""

    name = forms.CharField(max_length=100)
    days = forms.ChoiceField(choices=LIFETIMES, required=False)


@never_cache
@require_http_methods(["GET", "POST"])
@in_environment(Permission.KEYS_READ)
def key_list(request: PageRequest, place: Place) -> HttpResponseBase:
    """The keys by their ends; a new one is shown in full this once."""
    form, secret, now = KeyForm(request.POST or None), "", clock.now()
    if request.method == "POST":
        require_key_write(place.scope)
    if request.method == "POST" and form.is_valid():
        days = form.cleaned_data["days"]
        with refusals(form):
            secret = create_key(
                place.scope,
                name=form.cleaned_data["name"],
                expires_at=now + timedelta(days=int(days)) if days else None,
                now=now,
            ).secret
            form = KeyForm()
    return _page(request, place, form=form, secret=secret)


@never_cache
@require_POST
@in_environment(Permission.KEYS_READ)
def rotation(request: PageRequest, place: Place) -> HttpResponse:
    """Replace the main key; the new one is shown in full this once."""
    secret = regenerate_key(place.scope, now=clock.now())
    return _page(request, place, form=KeyForm(), secret=secret)


@require_POST
@in_environment(Permission.KEYS_READ)
def revocation(request: PageRequest, place: Place, named_key: str) -> HttpResponse:
    """End a key at once."""
    revoke_key(place.scope, key_id=parse_public_id("key", named_key), now=clock.now())
    messages.success(request, "The key works no more.")
    return redirect(places.address(place, "keys"))


def _page(request: PageRequest, place: Place, *, form: KeyForm, secret: str) -> HttpResponse:
    found = listed(request, list_keys(place.scope, now=clock.now()), text=_text, orders=_ORDERS)
    if wanted := asked_form(request):
        return list_file(map(_exported, found.rows), "keys", wanted)
    context = {
        "keys": found.rows,
        "found": found,
        "form": form,
        "secret": secret,
        "lifetimes": LIFETIMES,
        "may_write": may_write_keys(place.scope),
    }
    return page(request, "people/keys.html", context, section="keys")


def _text(key: Any) -> str:
    return f"{key.name} {key.hint}"


def _exported(key: Any) -> dict[str, Any]:
    return {
        "id": public_id("key", key.id),
        "name": key.name,
        "hint": key.hint,
        "created_at": key.created_at.isoformat(),
        "expires_at": key.expires_at.isoformat() if key.expires_at else None,
    }
