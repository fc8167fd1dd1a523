"""The OpenAPI document: how to authenticate, and what every refusal looks like."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.utils import OpenApiExample, OpenApiResponse
from drf_spectacular.views import SpectacularAPIView
from rest_framework import serializers

_MEANINGS = {
    400: "The request is malformed.",
    401: "The credential is missing, unknown, expired or revoked.",
    403: "The public token lacks a scope for this.",
    404: "There is no such thing in this environment.",
    409: "The present state does not allow this.",
    411: "The request has no Content-Length.",
    413: "Something is larger than its limit.",
    415: "The content type is not application/x-ndjson.",
    422: "The request is understood and refused; `details` says what is wrong where.",
    429: "Too many requests; try again after `Retry-After` seconds.",
}
_EXAMPLES: dict[int, dict[str, Any]] = {
    400: {
        "error": "The body is not JSON: Expecting value: line 1 column 1 (char 0)",
        "code": "bad_request",
    },
    401: {"error": "Invalid or Missing API key", "code": "unauthorized"},
    403: {
        "error": "Unauthorized: this token needs one of the scopes read:runs:run_…",
        "code": "unauthorized",
        "param": "access_token",
        "type": "authorization",
    },
    404: {"error": "Not found", "code": "not_found"},
}


class ErrorShape(serializers.Serializer[Any]):
    """A refusal: a sentence, a stable code, and what is wrong where."""

    error = serializers.CharField()
    code = serializers.CharField()
    details = serializers.DictField(required=False)


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """A secret key, a public token or a personal token."""

    target_class = "apps.api.authentication.BearerAuthentication"
    name = "bearer"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "An environment's secret key (`tr_prod_…`), a public token (a JWT), "
            "or a personal token (`tr_pat_…`).",
        }


class Schema(SpectacularAPIView):
    """The OpenAPI document, for anybody."""

    authentication_classes = []
    permission_classes = []


def errors(*statuses: int) -> dict[int, OpenApiResponse]:
    """What a method may refuse with, for `extend_schema(responses=…)`."""
    return {
        status: OpenApiResponse(
            ErrorShape,
            description=_MEANINGS[status],
            examples=[OpenApiExample("Example", value=_EXAMPLES[status])]
            if status in _EXAMPLES
            else [],
        )
        for status in statuses
    }
