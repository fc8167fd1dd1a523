"""Bearer credentials, told apart by their form."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from apps.accounts.errors import NotAuthenticated
from apps.accounts.operations.tokens import resolve_token
from apps.api.caller import Caller
from apps.api.errors import Unauthorized
from apps.core import clock
from apps.environments import public_tokens
from apps.environments.access import scope_for_user
from apps.environments.credentials import resolve_key
from apps.orgs.actors import Actor

_PERSONAL = "tr_pat_"
_SECRET_KEY = "tr_"  # noqa: S105 -- what every secret key starts with
_TOKEN_LENGTH = 8_192
_PROJECT, _ENVIRONMENT = "x-holdfast-project", "x-holdfast-environment"


class BearerAuthentication(BaseAuthentication):
    """Resolves `Authorization: Bearer …` to a Caller; a request without one is nobody's."""

    def authenticate(self, request: Request) -> tuple[Actor | None, Caller] | None:
        caller = caller_of(request.headers, now=clock.now())
        if caller is None:
            return None
        return (caller.environment.actor if caller.environment else None), caller

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


def caller_of(headers: Mapping[str, str], *, now: datetime) -> Caller | None:
    """Who sent these headers; nobody when they name no credential. Raises Unauthorized."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if not scheme:
        return None
    if scheme.lower() != "bearer" or not (token := token.strip()):
        raise Unauthorized
    if len(token) > _TOKEN_LENGTH:
        raise Unauthorized
    return _resolve(token, headers, now=now)


def _resolve(token: str, headers: Mapping[str, str], *, now: datetime) -> Caller:
    branch = headers.get("x-trigger-branch")
    try:
        if token.startswith(_PERSONAL):
            return _person(resolve_token(token, now=now), headers, now=now)
        if token.startswith(_SECRET_KEY):
            return Caller(environment=resolve_key(token, branch, now=now))
    except NotAuthenticated:
        raise Unauthorized from None  # in the words that clients know
    return _resolve_public(token, now=now)


def _person(user: Any, headers: Mapping[str, str], *, now: datetime) -> Caller:
    """Somebody, in the environment that the request names, if it names one; raises NotFound."""
    project, environment = headers.get(_PROJECT), headers.get(_ENVIRONMENT)
    if not (project and environment):
        return Caller(user=user)
    branch = headers.get("x-trigger-branch")
    scope = scope_for_user(user, project, environment, branch, now=now)
    return Caller(user=user, environment=scope)


def _resolve_public(token: str, *, now: datetime) -> Caller:
    try:
        opened = public_tokens.verify(token, now=now)
    except NotAuthenticated as error:
        raise Unauthorized(error.message) from None
    return Caller(environment=opened.scope, grants=opened.grants, token_digest=opened.digest)
