"""The page of an invite: accept it as who one is, or sign in as whom it is for."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from apps.accounts.queries import addresses_of
from apps.core import clock
from apps.core.errors import LimitExceeded
from apps.dashboard.pages import page
from apps.dashboard.requests import PageRequest
from apps.dashboard.throttle import throttle
from apps.dashboard.views.sign_in import mail_link
from apps.orgs.errors import InviteUnusable
from apps.orgs.operations.invites import accept_invite
from apps.orgs.queries import open_invite


@never_cache
@require_http_methods(["GET", "POST"])
def invite(request: PageRequest, token: str) -> HttpResponse:
    """Show what the invite is for; a POST accepts it, or mails its address a link to sign in.

    Whoever has the token need not be who reads that address, since who made the invite was shown
    it too: somebody who is not signed in always has to show that they are.
    """
    try:
        throttle(request, "invite")
        found = open_invite(token, now=clock.now())
        if request.method == "POST":
            return _take_up(request, found, token)
    except (InviteUnusable, LimitExceeded) as error:
        return page(request, "account/invite_unusable.html", {"error": error}, status=400)
    user: Any = request.user
    is_theirs = user.is_authenticated and found.email in addresses_of(user)
    context = {
        "invite": found,
        "is_theirs": is_theirs,
        "path": request.path,
        "has_github": bool(settings.GITHUB_CLIENT_ID),
    }
    return page(request, "account/invite.html", context)


def _take_up(request: PageRequest, found: Any, token: str) -> HttpResponse:
    user: Any = request.user
    if not user.is_authenticated:
        return mail_link(request, found.email, request.path)
    membership = accept_invite(user, token=token, now=clock.now())
    messages.success(request, f"Welcome to {membership.organization.name}.")
    return redirect(f"/orgs/{membership.organization.slug}")
