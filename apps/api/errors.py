"""Every refusal as the contract writes it: a message, a stable code, and whether to try again."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any, ClassVar

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, JsonResponse
from rest_framework import exceptions
from rest_framework.response import Response

from apps.core import clock
from apps.core.errors import DomainError, LimitExceeded, NotFound

# Clients retry these by themselves; a condition that lasts must tell them not to.
_RETRIED_UNASKED = {408, 409}
INTERNAL = {"error": "Something went wrong on the server", "code": "internal"}


class BadRequest(DomainError):
    """Bad request"""

    code = "bad_request"
    status = 400


class Unauthorized(DomainError):
    """Invalid or Missing API key"""

    code = "unauthorized"
    status = 401


class ScopeMissing(DomainError):
    """Unauthorized"""

    code = "unauthorized"
    status = 403
    extra: ClassVar[dict[str, str]] = {"param": "access_token", "type": "authorization"}


class LengthRequired(DomainError):
    """The request must say how long its body is"""

    code = "length_required"
    status = 411


class UnsupportedContent(DomainError):
    """Unsupported content type"""

    code = "unsupported_media_type"
    status = 415


class NotImplementedHere(DomainError):
    """Not supported"""

    code = "not_supported"
    status = 422


def handle(error: Exception, context: dict[str, Any]) -> Response | None:
    """What DRF calls for an exception of a view; None lets a bug be a 500."""
    if isinstance(error, DomainError):
        return _domain(error)
    if isinstance(error, exceptions.APIException):
        return _framework(error)
    if isinstance(error, Http404):
        return _domain(NotFound())
    if isinstance(error, PermissionDenied):
        return _respond(403, "Not allowed", code="forbidden")
    return None


def server_error(request: HttpRequest) -> JsonResponse:
    """What a bug is answered with; clients try again."""
    return JsonResponse(INTERNAL, status=500)


def body(error: DomainError) -> dict[str, Any]:
    """The JSON body of a domain error."""
    found: dict[str, Any] = {"error": error.message, "code": error.code}
    if error.detail:
        found["details"] = error.detail
    return found | getattr(error, "extra", {})


def _domain(error: DomainError) -> Response:
    response = Response(body(error), status=error.status)
    if error.status in _RETRIED_UNASKED or isinstance(error, NotFound):
        response["x-should-retry"] = "false"
    if isinstance(error, LimitExceeded):
        _say_when(response, float(error.detail["retry_after"]))
    if error.status == Unauthorized.status:
        response["WWW-Authenticate"] = "Bearer"
    return response


def _say_when(response: Response, seconds: float) -> None:
    """Tell a client that asked too often when it may again, in both of the spellings they read."""
    reset = clock.now() + timedelta(seconds=seconds)
    response["Retry-After"] = str(max(1, math.ceil(seconds)))
    response["x-ratelimit-remaining"] = "0"
    response["x-ratelimit-reset"] = str(int(reset.timestamp() * 1000))


def _framework(error: exceptions.APIException) -> Response:
    if isinstance(error, exceptions.ValidationError):
        return _domain(invalid_body(error.detail))
    response = _respond(error.status_code, str(error.detail), code=error.default_code)
    if isinstance(error, exceptions.AuthenticationFailed | exceptions.NotAuthenticated):
        return _domain(Unauthorized())
    return response


def invalid_body(problems: Any) -> BadRequest:
    """A DRF validation error as one sentence, with the reasons by the path of each field."""
    reasons = dict(_flatten(problems, path=""))
    sentence = "; ".join(
        f"{path}: {reason}" if path else reason
        for path, found in reasons.items()
        for reason in found
    )
    return BadRequest(sentence, detail=reasons)


def _flatten(problems: Any, *, path: str) -> list[tuple[str, list[str]]]:
    if isinstance(problems, dict):
        return [
            pair
            for key, value in problems.items()
            for pair in _flatten(
                value, path=path if key == "non_field_errors" else _join(path, key)
            )
        ]
    if isinstance(problems, list) and any(isinstance(item, dict | list) for item in problems):
        return [
            pair
            for index, value in enumerate(problems)
            if value
            for pair in _flatten(value, path=_join(path, index))
        ]
    reasons = problems if isinstance(problems, list) else [problems]
    return [(path, [str(reason) for reason in reasons])]


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def _respond(status: int, message: str, *, code: str) -> Response:
    return Response({"error": message, "code": code}, status=status)
