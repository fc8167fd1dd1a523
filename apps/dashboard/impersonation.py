"""A member of the staff sees the pages as somebody else does; the log and a banner say so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from apps.accounts.queries import person_of
from apps.core import clock
from apps.core.errors import DomainError, Forbidden
from apps.dashboard.pages import answering_refusals, for_people, person, refusal
from apps.dashboard.requests import PageRequest
from apps.orgs.audit import impersonator_id
from apps.orgs.operations.support import (
    begin_impersonation,
    check_impersonation,
    end_impersonation,
)

_KEY = "impersonated"
_THEIR_OWN = ("/admin/", "/impersonation", "/static/")
# What would outlive the visit, or lock somebody out of their own account.
_FORBIDDEN = ("/account", "/sign-in", "/invites/")


class Impersonation:
    """Puts the other person on the request, and keeps the member of the staff beside them."""

    def __init__(self, get_response: Callable[[Any], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: Any) -> HttpResponseBase:
        if not request.session.session_key or request.path.startswith(_THEIR_OWN):
            return self._get_response(request)
        chosen = request.session.get(_KEY)
        if chosen is None or not request.user.is_authenticated:
            return self._get_response(request)
        return self._as(request, chosen)

    def _as(self, request: Any, chosen: str) -> HttpResponseBase:
        staff = request.user
        try:
            other = person_of(chosen)
            check_impersonation(staff, other)
        except DomainError:
            del request.session[_KEY]  # one of the two is not who they were
            return self._get_response(request)
        request.user, request.impersonator = other, staff
        if request.path.startswith(_FORBIDDEN):
            why = "An account is its person's alone: nobody else opens it, nor signs in for them"
            return refusal(request, Forbidden(why))
        token = impersonator_id.set(staff.pk)
        try:
            return self._get_response(request)
        finally:
            impersonator_id.reset(token)


@require_POST
@answering_refusals
@for_people
def begin(request: PageRequest, user: str) -> HttpResponse:
    """Act as somebody from now on."""
    begin_impersonation(person(request), person=person_of(user), now=clock.now())
    request.session[_KEY] = user
    return redirect("/")


@require_POST
@answering_refusals
@for_people
def end(request: PageRequest) -> HttpResponse:
    """Act as oneself again."""
    chosen = request.session.pop(_KEY, None)
    if chosen is None:
        return redirect("/")
    other = person_of(chosen)
    end_impersonation(person(request), person=other, now=clock.now())
    return redirect("admin:accounts_user_change", other.pk)
