"""Who is calling, and signing in from a terminal."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.accounts.operations import people, tokens
from apps.accounts.operations.login import create_code, redeem_code
from apps.accounts.queries import list_sessions, list_tokens
from apps.api.access import accepts
from apps.api.endpoint import Endpoint, read
from apps.api.schema import errors
from apps.api.serializers.accounts import (
    AccessTokenBody,
    AccessTokenShape,
    CodeBody,
    CodeShape,
    EndedSessionsShape,
    IdentityShape,
    NewAccessTokenShape,
    PersonBody,
    PersonShape,
    RedeemBody,
    RedeemedShape,
    SessionShape,
)
from apps.api.serializers.environments import SuccessShape
from apps.core.durations import parse_duration
from apps.core.errors import NotFound
from apps.core.ids import parse_public_id
from apps.projects.queries import find_project_of

_CODE = CodeBody()
_REDEEM = RedeemBody()
_PERSON = PersonBody()
_TOKEN = AccessTokenBody()
_DONE = {"success": True}
_SESSION_DIGITS = 18  # more than any id has, and what a bigint holds


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


class OwnAccount(Endpoint):
    """What people change about themselves."""

    @extend_schema(
        operation_id="rename_person",
        summary="Change how one is called",
        request=PersonBody,
        responses={200: PersonShape, **errors(400, 401, 422)},
    )
    @accepts(key=False, person=True)
    def patch(self, request: Request) -> Response:
        name = read(_PERSON, request.data)["name"]
        return Response(PersonShape(people.rename_person(self.person, name=name)).data)


class AccessTokenList(Endpoint):
    """One's own personal tokens."""

    @extend_schema(
        operation_id="list_access_tokens",
        summary="List one's own personal tokens that are not revoked, newest first",
        responses={200: AccessTokenShape(many=True), **errors(401)},
    )
    @accepts(key=False, person=True)
    def get(self, request: Request) -> Response:
        return Response(AccessTokenShape(list_tokens(self.person), many=True).data)

    @extend_schema(
        operation_id="create_access_token",
        summary="Make a personal token; it is shown this once",
        request=AccessTokenBody,
        responses={200: NewAccessTokenShape, **errors(400, 401, 422)},
        examples=[
            OpenApiExample(
                "A laptop", value={"name": "laptop", "expirationTime": "90d"}, request_only=True
            )
        ],
    )
    @accepts(key=False, person=True)
    def post(self, request: Request) -> Response:
        body, now = read(_TOKEN, request.data), self.now
        lifetime = body.get("expirationTime")
        made = tokens.create_token(
            self.person,
            name=body["name"],
            expires_at=now + parse_duration(lifetime, field="expirationTime") if lifetime else None,
            now=now,
        )
        return Response(NewAccessTokenShape(made).data)


class AccessTokenDetail(Endpoint):
    """One personal token."""

    @extend_schema(
        operation_id="revoke_access_token",
        summary="End one of one's own personal tokens at once",
        responses={200: SuccessShape, **errors(401, 404)},
    )
    @accepts(key=False, person=True)
    def delete(self, request: Request, personal_token: str) -> Response:
        token_id = parse_public_id("token", personal_token)
        tokens.revoke_token(self.person, token_id=token_id, now=self.now)
        return Response(_DONE)


class SessionList(Endpoint):
    """The browsers in which one is signed in."""

    @extend_schema(
        operation_id="list_sessions",
        summary="List the browsers in which one is signed in, the latest first",
        responses={200: SessionShape(many=True), **errors(401)},
    )
    @accepts(key=False, person=True)
    def get(self, request: Request) -> Response:
        return Response(SessionShape(list_sessions(self.person), many=True).data)

    @extend_schema(
        operation_id="end_all_sessions",
        summary="Sign out of every browser; tokens go on",
        responses={200: EndedSessionsShape, **errors(401)},
    )
    @accepts(key=False, person=True)
    def delete(self, request: Request) -> Response:
        ended = people.end_other_sessions(self.person, session_key="")
        return Response({"ended": ended})


class SessionDetail(Endpoint):
    """One browser in which one is signed in."""

    @extend_schema(
        operation_id="end_session",
        summary="Sign out of one browser",
        responses={200: SuccessShape, **errors(401, 404)},
    )
    @accepts(key=False, person=True)
    def delete(self, request: Request, session: str) -> Response:
        if not (session.isascii() and session.isdecimal() and len(session) <= _SESSION_DIGITS):
            raise NotFound
        people.end_session(self.person, session_id=int(session))
        return Response(_DONE)
