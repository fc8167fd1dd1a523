"""Browsers of any origin may call the API with a bearer token; preflights are answered at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

_PREFIXES = ("/api/", "/realtime/", "/engine/", "/otel/")
_ALLOWED = ", ".join(
    (
        "authorization", "content-type", "trigger-version", "traceparent", "tracestate",
        "last-event-id", "timeout-seconds", "idempotency-key", "idempotency-key-ttl",
        "batch-processing-strategy", "x-part-id", "x-trigger-source", "x-trigger-client",
        "x-trigger-api-version", "x-trigger-branch", "x-trigger-realtime-streams-version",
        "x-trigger-request-idempotency-key", "x-trigger-electric-version",
        "x-trigger-stream-start", "x-trigger-worker", "x-trigger-engine-version",
        "x-trigger-span-parent-as-link", "x-trigger-sdk-operation",
        "x-trigger-sdk-credential-reason", "x-holdfast-project", "x-holdfast-environment",
    )
)  # fmt: skip
_EXPOSED = ", ".join(
    (
        "electric-offset", "electric-handle", "electric-schema", "electric-cursor",
        "electric-up-to-date", "x-trigger-jwt", "x-trigger-jwt-claims", "x-stream-version",
        "x-session-settled", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset",
        "x-should-retry", "retry-after",
    )
)  # fmt: skip
_DAY = "86400"

Handler = Callable[[HttpRequest], HttpResponseBase]


@sync_and_async_middleware
def cors(
    get_response: Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]],
) -> Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]:
    """Answer preflights without touching anything else, and open every other API answer."""
    if iscoroutinefunction(get_response):

        async def open_later(request: HttpRequest) -> HttpResponseBase:
            if _is_preflight(request):
                return _preflight()
            return _opened(request, await get_response(request))

        return open_later

    def open_now(request: HttpRequest) -> HttpResponseBase:
        if _is_preflight(request):
            return _preflight()
        response = get_response(request)
        assert isinstance(response, HttpResponseBase)  # noqa: S101 -- the sync half of the pair
        return _opened(request, response)

    return open_now


def _is_preflight(request: HttpRequest) -> bool:
    return request.method == "OPTIONS" and request.path.startswith(_PREFIXES)


def _preflight() -> HttpResponse:
    return HttpResponse(
        status=204,
        headers={
            "Access-Control-Allow-Origin": "*",
            "Access-Control-Allow-Methods": "GET, POST, PUT, PATCH, DELETE, HEAD",
            "Access-Control-Allow-Headers": _ALLOWED,
            "Access-Control-Max-Age": _DAY,
        },
    )


def _opened(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    if request.path.startswith(_PREFIXES):
        response["Access-Control-Allow-Origin"] = "*"
        response["Access-Control-Expose-Headers"] = _EXPOSED
    return response
