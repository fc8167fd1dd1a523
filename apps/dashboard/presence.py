"""Notes now and then that somebody is still there, for the list of their sessions."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from allauth.usersessions.models import UserSession
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from apps.accounts.operations.people import note_session
from apps.core import clock

_EVERY = timedelta(minutes=5)
_NOTED = "noted_at"


class Presence:
    """Not with every request: a page that is open asks again and again."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        # Only who has a session is somebody; asking it for others would make each answer vary.
        is_own = not hasattr(request, "impersonator")
        if request.session.session_key and request.user.is_authenticated and is_own:
            self._note(request, clock.now())
        return self._get_response(request)

    def _note(self, request: HttpRequest, now: datetime) -> None:
        noted = request.session.get(_NOTED)
        if noted is not None and now - datetime.fromisoformat(noted) < _EVERY:
            return
        if not note_session(request.session.session_key or "", now=now):
            UserSession.objects.create_from_request(request)
        request.session[_NOTED] = now.isoformat()
