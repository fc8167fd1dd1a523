"""What an ASGI scope says of who asks, and for what."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.http import parse_cookie

from apps.realtime.conversation import Asked, parse

TOKEN_PROTOCOL = "bearer."  # noqa: S105 -- a browser's WebSocket can send no header but this one


def asked_by(scope: dict[str, Any], *, place: str | None = None) -> Asked:
    """What a request asks for, since this place or its Last-Event-ID; raises Invalid, NotFound."""
    bearer = _bearer(scope)
    return parse(
        scope["query_string"].decode("latin-1"),
        bearer=bearer,
        session_key="" if bearer else _session_key(scope),
        branch=header(scope, b"x-trigger-branch"),
        place=header(scope, b"last-event-id") if place is None else place,
    )


def header(scope: dict[str, Any], name: bytes) -> str:
    """A header of the request, or nothing."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value.decode("latin-1"))
    return ""


def is_of_this_site(scope: dict[str, Any]) -> bool:
    """Whether the page that opens a WebSocket is ours: browsers ask nobody before they do."""
    origin = header(scope, b"origin")
    return not origin or (
        origin in settings.CSRF_TRUSTED_ORIGINS or urlsplit(origin).netloc == header(scope, b"host")
    )


def _bearer(scope: dict[str, Any]) -> str:
    kind, _, token = header(scope, b"authorization").partition(" ")
    if kind.lower() == "bearer" and token.strip():
        return token.strip()
    if kind:
        return "?"  # something that opens nothing, rather than the cookie beside it
    offered = scope.get("subprotocols") or ()
    tokens = [name for name in offered if name.startswith(TOKEN_PROTOCOL)]
    return tokens[0].removeprefix(TOKEN_PROTOCOL) if tokens else ""


def _session_key(scope: dict[str, Any]) -> str:
    found: str = parse_cookie(header(scope, b"cookie")).get(settings.SESSION_COOKIE_NAME, "")
    return found
