"""Environments: their key for the command line, pause, public tokens."""

from __future__ import annotations

from datetime import timedelta

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api.access import accepts
from apps.api.endpoint import Endpoint, read
from apps.api.schema import errors
from apps.api.serializers.environments import (
    ClaimsShape,
    EnvironmentAccessShape,
    EnvironmentStateShape,
    NewKeyShape,
    TokenBody,
    TokenShape,
)
from apps.core.durations import parse_duration
from apps.core.errors import Invalid
from apps.core.ids import public_id
from apps.environments import public_tokens, queries
from apps.environments.operations.keys import regenerate_key
from apps.environments.operations.life import pause_environment, resume_environment
from apps.environments.scope import Scope

_TOKEN = TokenBody()
_TOKEN_LIVES = timedelta(minutes=15)
_TOKEN_LIVES_AT_MOST = timedelta(days=365)


class EnvironmentAccess(Endpoint):
    """An environment of a project, as the command line enters it."""

    @extend_schema(
        operation_id="retrieve_environment_key",
        summary="Retrieve an environment's key; `dev` is one's own, made when first asked for",
        responses={200: EnvironmentAccessShape, **errors(401, 403, 404)},
    )
    @accepts(key=False, person=True)
    def get(self, request: Request, ref: str, env: str) -> Response:
        scope = self.scope_in(ref, env)
        environment = queries.get_environment(scope)
        return Response(
            {
                "apiKey": queries.current_key(scope),
                "name": environment.project.name,
                "apiUrl": self.base,
                "projectId": public_id("proj", environment.project_id),
            }
        )


class EnvironmentPause(Endpoint):
    """No more runs start."""

    @extend_schema(
        operation_id="pause_environment",
        summary="Start no more runs in an environment",
        request=None,
        responses={200: EnvironmentStateShape, **errors(401, 403, 404)},
    )
    @accepts(person=True)
    def post(self, request: Request, ref: str, env: str) -> Response:
        pause_environment(self.scope_in(ref, env), now=self.now)
        return Response({"success": True, "paused": True})


class EnvironmentResumption(Endpoint):
    """Runs start again."""

    @extend_schema(
        operation_id="resume_environment",
        summary="Let runs start again in an environment",
        request=None,
        responses={200: EnvironmentStateShape, **errors(401, 403, 404)},
    )
    @accepts(person=True)
    def post(self, request: Request, ref: str, env: str) -> Response:
        resume_environment(self.scope_in(ref, env), now=self.now)
        return Response({"success": True, "paused": False})


class EnvironmentKey(Endpoint):
    """An environment's secret key, replaced."""

    @extend_schema(
        operation_id="regenerate_api_key",
        summary="Replace an environment's key; the old one works for another day",
        request=None,
        responses={200: NewKeyShape, **errors(401, 403, 404)},
    )
    @accepts(key=False, person=True)
    def post(self, request: Request, ref: str, env: str) -> Response:
        return Response({"apiKey": regenerate_key(self.scope_in(ref, env), now=self.now)})


class TokenClaims(Endpoint):
    """What a client needs to sign a public token itself."""

    @extend_schema(
        operation_id="create_token_claims",
        summary="Get the claims of a public token",
        request=None,
        responses={200: ClaimsShape, **errors(401)},
    )
    def post(self, request: Request) -> Response:
        return Response({"sub": public_id("env", self.scope.environment_id), "pub": True})


class PublicToken(Endpoint):
    """A public token, signed here."""

    @extend_schema(
        operation_id="create_public_token",
        summary="Sign a public token for the key's environment",
        request=TokenBody,
        responses={200: TokenShape, **errors(400, 401, 422)},
        examples=[
            OpenApiExample(
                "Read one run",
                value={"claims": {"scopes": ["read:runs:run_…"]}, "expirationTime": "15m"},
                request_only=True,
            )
        ],
    )
    def post(self, request: Request) -> Response:
        return self.answer(request, self.scope)

    def answer(self, request: Request, scope: Scope) -> Response:
        body, now = read(_TOKEN, request.data), self.now
        lifetime = _lifetime(body.get("expirationTime"))
        claims = body.get("claims", {})
        token = public_tokens.sign(
            scope.environment_id,
            claims.get("scopes", []),
            lifetime=lifetime,
            now=now,
            is_one_time=claims.get("otu", False),
        )
        return Response({"token": token})


class EnvironmentToken(PublicToken):
    """A public token of an environment that the path names."""

    @extend_schema(
        operation_id="create_environment_token",
        summary="Sign a public token for an environment",
        request=TokenBody,
        responses={200: TokenShape, **errors(400, 401, 403, 404, 422)},
    )
    @accepts(person=True)
    def post(self, request: Request, ref: str, env: str) -> Response:  # type: ignore[override]
        scope = self.scope_in(ref, env)
        if self.caller.user is not None:
            queries.current_key(scope)  # whoever may see the key may sign with it
        return self.answer(request, scope)


def _lifetime(text: str | None) -> timedelta:
    lifetime = parse_duration(text, field="expirationTime") if text else _TOKEN_LIVES
    if lifetime > _TOKEN_LIVES_AT_MOST:
        raise Invalid(
            "A public token lives at most a year", detail={"expirationTime": ["too long"]}
        )
    return lifetime
