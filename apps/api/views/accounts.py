"""Who is calling, and signing in from a terminal."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.accounts.operations.login import create_code, redeem_code
from apps.api.access import accepts
from apps.api.endpoint import Endpoint, read
from apps.api.schema import errors
from apps.api.serializers.accounts import (
    CodeBody,
    CodeShape,
    IdentityShape,
    RedeemBody,
    RedeemedShape,
)
from apps.projects.queries import find_project_of

_CODE = CodeBody()
_REDEEM = RedeemBody()


class WhoAmI(Endpoint):
    """The person behind a personal token."""

    @extend_schema(
        operation_id="whoami",
        summary="Retrieve the person that the personal token belongs to",
        parameters=[OpenApiParameter("projectRef", str, description="Also describe this project.")],
        responses={200: IdentityShape, **errors(401, 404)},
    )
    @accepts(key=False, person=True)
    def get(self, request: Request) -> Response:
        user = self.caller.user
        identity: dict[str, Any] = {
            "userId": user.public_id,
            "email": user.email,
            "dashboardUrl": self.base,
        }
        if ref := request.query_params.get("projectRef"):
            project = find_project_of(user, ref)
            identity["project"] = {
                "name": project.name,
                "url": f"{self.base}/projects/{project.ref}",
                "orgTitle": project.organization.name,
            }
        return Response(identity)


@extend_schema(exclude=True)
class WhoAmIV1(WhoAmI):
    """The path that callers without a client know."""


class LoginCode(Endpoint):
    """The beginning of a login."""

    authentication_classes = []

    @extend_schema(
        operation_id="create_authorization_code",
        summary="Begin to sign in from a terminal",
        request=CodeBody,
        responses={200: CodeShape, **errors(400)},
        auth=[],
    )
    @accepts(anybody=True)
    def post(self, request: Request) -> Response:
        body = read(_CODE, request.data)
        made = create_code(
            now=self.now,
            client=request.headers.get("user-agent", ""),
            challenge=body.get("codeChallenge", ""),
        )
        url = f"{self.base}/account/authorization-code/{made.code}"
        return Response({"authorizationCode": made.code, "url": url})


class LoginToken(Endpoint):
    """The end of a login."""

    authentication_classes = []

    @extend_schema(
        operation_id="redeem_authorization_code",
        summary="Trade an approved code for a personal token; null until it is approved",
        request=RedeemBody,
        responses={200: RedeemedShape, **errors(400)},
        auth=[],
    )
    @accepts(anybody=True)
    def post(self, request: Request) -> Response:
        body = read(_REDEEM, request.data)
        token = redeem_code(
            code=body["authorizationCode"], verifier=body.get("codeVerifier"), now=self.now
        )
        if token is None:
            return Response({"token": None})
        return Response({"token": {"token": token.secret, "obfuscatedToken": token.hint}})
