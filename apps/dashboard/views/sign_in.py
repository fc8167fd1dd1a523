"""Signing in by a link in a mail, or by GitHub, a passkey or a password; and signing out."""

from __future__ import annotations

from typing import Any

from allauth.account.internal.flows.login import record_authentication
from allauth.account.utils import perform_login
from allauth.account.views import LoginView
from django import forms
from django.conf import settings
from django.contrib.auth import logout
from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.crypto import get_random_string
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods

from apps.accounts.errors import Inactive, LinkUnusable, SignUpClosed
from apps.accounts.operations.links import Asking, is_same_browser, request_link, use_link
from apps.accounts.policy import LINK_LIFETIME, own_path
from apps.accounts.queries import open_link
from apps.core import clock
from apps.core.errors import DomainError, LimitExceeded
from apps.dashboard.pages import page
from apps.dashboard.refusals import refusals
from apps.dashboard.requests import PageRequest
from apps.dashboard.throttle import throttle, visitor_address
from apps.orgs.queries import may_sign_up

_BROWSER = "holdfast_browser"  # what only the browser that asked for a link has
_ASKED = "holdfast_asked"  # the address that it asked for, to be shown
_COOKIE_PATH = "/sign-in"
_CONSOLE = "django.core.mail.backends.console.EmailBackend"


class AddressForm(forms.Form):
    """An address to mail a link to."""

    email = forms.EmailField(
        label="E-mail address",
        max_length=254,
        widget=forms.EmailInput(
            attrs={
                "autocomplete": "username webauthn",
                "placeholder": "you@example.com",
                "autofocus": True,
            }
        ),
    )


@never_cache
@require_http_methods(["GET", "POST"])
def sign_in(request: PageRequest) -> HttpResponse:
    """Ask for an address and mail it a link; the answer is the same whoever it is of."""
    wanted = own_path(request.POST.get("next", "") or request.GET.get("next", ""))
    if request.user.is_authenticated:
        return redirect(wanted or "/")
    form = AddressForm(request.POST or None, initial={"email": request.GET.get("email", "")})
    status = 200
    if request.method == "POST" and form.is_valid():
        email = form.cleaned_data["email"]
        with refusals(form):
            try:
                return mail_link(request, email, wanted)
            except LimitExceeded:
                status = 429
                raise
    context = {"form": form, "next": wanted, **_ways()}
    return page(request, "account/sign_in.html", context, status=status)


def mail_link(request: PageRequest, email: str, wanted: str) -> HttpResponse:
    """Mail a link to an address, bound to this browser; leads to the page that says so."""
    now, browser = clock.now(), request.COOKIES.get(_BROWSER) or get_random_string(32)
    throttle(request, "sign_in_link", key=email.strip().lower())
    agent = request.headers.get("user-agent", "")
    request_link(
        email=email,
        asking=Asking(browser=browser, user_agent=agent, ip=visitor_address(request)),
        may_sign_up=may_sign_up(email, now=now),
        next_path=wanted,
        now=now,
    )
    answer = redirect("sign_in_sent")
    cookie: dict[str, Any] = {
        "max_age": int(LINK_LIFETIME.total_seconds()),
        "path": _COOKIE_PATH,
        "secure": settings.SESSION_COOKIE_SECURE,
        "httponly": True,
        "samesite": "Lax",
    }
    answer.set_cookie(_BROWSER, browser, **cookie)
    answer.set_signed_cookie(_ASKED, f"{email} {wanted}", **cookie)
    return answer


@never_cache
@require_GET
def sent(request: PageRequest) -> HttpResponse:
    """Say that a letter is on its way, if there is anybody to get it."""
    email, _, wanted = (request.get_signed_cookie(_ASKED, default="") or "").partition(" ")
    if not email:
        return redirect("account_login")
    context = {
        "email": email,
        "next": wanted,
        "minutes": int(LINK_LIFETIME.total_seconds() // 60),
        "prints_mail": settings.EMAIL_BACKEND == _CONSOLE,
        "home": settings.HOLDFAST_HOME,
    }
    return page(request, "account/sent.html", context)


@never_cache
@require_http_methods(["GET", "POST"])
def link(request: PageRequest, token: str) -> HttpResponse:
    """Let in the browser that asked for the link; any other is asked to confirm it first.

    What only looks at links, as scanners of mail and prefetching browsers do, uses none up.
    """
    try:
        found = open_link(token, now=clock.now())
        is_ours = is_same_browser(found, request.COOKIES.get(_BROWSER, ""))
        is_prefetch = "prefetch" in request.headers.get("sec-purpose", "")
        if request.method == "POST" or (is_ours and not is_prefetch):
            return _enter(request, token)
    except (LinkUnusable, SignUpClosed, Inactive) as error:
        return _unusable(request, error)
    return page(request, "account/confirm_link.html", {"link": found})


class PasswordSignIn(LoginView):  # type: ignore[misc]  # allauth has no types
    """For the few who have a password; allauth counts the tries and asks for a second factor."""

    template_name = "account/password.html"


def sign_up(request: PageRequest) -> HttpResponse:
    """There is no separate way: who signs in for the first time has signed up."""
    return redirect("account_login")


@require_http_methods(["GET", "POST"])
def sign_out(request: PageRequest) -> HttpResponse:
    """Sign out, or ask whether to, as a link alone should not."""
    if request.method == "GET" and request.user.is_authenticated:
        return page(request, "account/sign_out.html")
    logout(request)
    wanted = own_path(request.POST.get("next", ""))
    return redirect(wanted or reverse("account_login"))


@require_GET
def inactive(request: PageRequest) -> HttpResponse:
    """Tell somebody who was made inactive."""
    return _unusable(request, Inactive())


def to_sign_in(request: PageRequest) -> HttpResponse:
    """Ask a stranger to sign in, and bring them back."""
    return redirect(f"{reverse('account_login')}?{urlencode({'next': request.get_full_path()})}")


def _enter(request: PageRequest, token: str) -> HttpResponse:
    entered = use_link(token=token, now=clock.now())
    record_authentication(request, entered.user, method="link", email=entered.user.email)
    answer: HttpResponse = perform_login(
        request,
        entered.user,
        email_verification="none",
        redirect_url=entered.next_path or None,
        signup=entered.is_new,
    )
    answer.delete_cookie(_ASKED, path=_COOKIE_PATH)
    return answer


def _unusable(request: PageRequest, error: DomainError) -> HttpResponse:
    context = {"error": error, "form": AddressForm(), **_ways()}
    return page(request, "account/link_unusable.html", context, status=error.status)


def _ways() -> dict[str, object]:
    """The ways in that this server has."""
    return {
        "has_github": bool(settings.GITHUB_CLIENT_ID),
        "has_sign_up": settings.SIGN_UP == "open",
    }
