"""Somebody's own account: name, personal tokens, where they are signed in, GitHub."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from apps.accounts.operations.people import end_other_sessions, end_session, rename_person
from apps.accounts.operations.tokens import create_token, revoke_token
from apps.accounts.policy import NAME_LENGTH
from apps.accounts.queries import list_sessions, list_tokens
from apps.core import clock
from apps.core.ids import parse_public_id, public_id
from apps.dashboard.agents import describe
from apps.dashboard.exports import asked_form, list_file
from apps.dashboard.lists import By, listed
from apps.dashboard.pages import answering_refusals, page
from apps.dashboard.refusals import refusals
from apps.dashboard.requests import PageRequest

_LIFETIMES = {"30": "30 days", "90": "90 days", "365": "a year", "": "no expiry"}


_ORDERS = {
    "made": By(lambda token: token.created_at, most=True),
    "name": By(lambda token: token.name.lower()),
    "used": By(lambda token: token.used_at, most=True),
    "expires": By(lambda token: token.expires_at),
}


class NameForm(forms.Form):
    """How somebody is called."""

    name = forms.CharField(max_length=NAME_LENGTH, required=False, label="Name")


class TokenForm(forms.Form):
    """A new personal token."""

    name = forms.CharField(
        max_length=NAME_LENGTH,
        label="Name",
        widget=forms.TextInput(attrs={"placeholder": "laptop", "autofocus": True}),
    )
    days = forms.ChoiceField(
        choices=list(_LIFETIMES.items()), required=False, label="Expires after", initial="90"
    )


@never_cache
@login_required
@require_http_methods(["GET", "POST"])
def profile(request: PageRequest) -> HttpResponse:
    """Who one is here, and by what one signs in."""
    user: Any = request.user
    form = NameForm(request.POST or None, initial={"name": user.name})
    if request.method == "POST" and form.is_valid():
        with refusals(form):
            rename_person(user, name=form.cleaned_data["name"])
            messages.success(request, "Your name was changed.")
            return redirect("account_profile")
    linked = list(SocialAccount.objects.filter(user=user).order_by("pk"))
    context = {"form": form, "has_github": bool(settings.GITHUB_CLIENT_ID), "linked": linked}
    return page(request, "account/profile.html", context)


@login_required
@require_POST
def disconnect(request: PageRequest, account: int) -> HttpResponse:
    """Part from a GitHub account; a link by mail remains a way in."""
    user: Any = request.user
    deleted, _ = SocialAccount.objects.filter(user=user, pk=account).delete()
    if deleted:
        messages.success(request, "GitHub was disconnected. You can still sign in by mail.")
    return redirect("account_profile")


@never_cache
@login_required
@require_http_methods(["GET", "POST"])
@answering_refusals
def tokens(request: PageRequest) -> HttpResponse:
    """Personal tokens: a new one is shown once."""
    user: Any = request.user
    form, created = TokenForm(request.POST or None), None
    now = clock.now()
    if request.method == "POST" and form.is_valid():
        days = form.cleaned_data["days"]
        with refusals(form):
            created = create_token(
                user,
                name=form.cleaned_data["name"],
                expires_at=now + timedelta(days=int(days)) if days else None,
                now=now,
            )
            form = TokenForm()
    found = listed(request, list_tokens(user), text=_text, orders=_ORDERS)
    if wanted := asked_form(request):
        return list_file(map(_exported, found.rows), "personal-tokens", wanted)
    context = {
        "tokens": found.rows,
        "found": found,
        "form": form,
        "created": created,
        "now": now,
    }
    return page(request, "account/tokens.html", context)


@login_required
@require_POST
def revocation(request: PageRequest, token: str) -> HttpResponse:
    """End a token at once."""
    user: Any = request.user
    revoke_token(user, token_id=parse_public_id("token", token), now=clock.now())
    messages.success(request, "The token works no more.")
    return redirect("account_tokens")


@never_cache
@login_required
@require_http_methods(["GET", "POST"])
def sessions(request: PageRequest) -> HttpResponse:
    """Where one is signed in; a POST signs out everywhere else, or in one place."""
    user: Any = request.user
    here = request.session.session_key or ""
    if request.method == "POST":
        chosen = request.POST.get("session", "")
        if chosen.isdecimal():
            end_session(user, session_id=int(chosen))
        else:
            end_other_sessions(user, session_key=here)
        messages.success(request, "Signed out there.")
        return redirect("account_sessions")
    rows = [
        {
            "session": found,
            "agent": describe(found.user_agent),
            "is_here": found.session_key == here,
        }
        for found in list_sessions(user)
    ]
    return page(request, "account/sessions.html", {"rows": rows})


@never_cache
@login_required
def security(request: PageRequest) -> HttpResponse:
    """Second factors: an authenticator app, passkeys, recovery codes."""
    user: Any = request.user
    found = [one.wrap() for one in Authenticator.objects.filter(user=user).order_by("pk")]
    kinds = {one.instance.type: one for one in found}
    context = {
        "totp": kinds.get(Authenticator.Type.TOTP),
        "codes": kinds.get(Authenticator.Type.RECOVERY_CODES),
        "keys": [one for one in found if one.instance.type == Authenticator.Type.WEBAUTHN],
    }
    return page(request, "mfa/index.html", context)


def _text(token: Any) -> str:
    return f"{token.name} {token.hint}"


def _exported(token: Any) -> dict[str, Any]:
    return {
        "id": public_id("token", token.id),
        "name": token.name,
        "hint": token.hint,
        "created_at": token.created_at.isoformat(),
        "used_at": token.used_at.isoformat() if token.used_at else None,
        "expires_at": token.expires_at.isoformat() if token.expires_at else None,
    }
