"""Who may watch what: by a person's session or token, an environment's key, or a public token."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest

from apps.accounts.errors import NotAuthenticated
from apps.accounts.operations.tokens import resolve_token
from apps.core.crypto import digest
from apps.core.errors import DomainError, Forbidden, NotFound
from apps.core.ids import parse_public_id, public_id
from apps.environments import public_tokens
from apps.environments.credentials import resolve_key
from apps.environments.grants import Grants, Resource
from apps.environments.membership import scope_of_member
from apps.environments.scope import Scope
from apps.orgs.permissions import Permission, require
from apps.realtime.wanted import Wanted
from apps.runs import queries as runs

_PERSONAL = "tr_pat_"
_SECRET_KEY = "tr_"  # noqa: S105 -- what every secret key starts with
_LONGEST = 8_192


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What somebody came with; a person also says which environment."""

    bearer: str = ""
    session_key: str = ""
    branch: str | None = None
    environment: str | None = None

    @property
    def is_cookie(self) -> bool:
        """Whether a browser sent this by itself, for whatever page made it ask."""
        return not self.bearer and bool(self.session_key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watcher:
    """Somebody who may watch an environment; `holder` is whom their streams are counted for."""

    scope: Scope
    holder: str
    grants: Grants | None = None

    @property
    def is_person(self) -> bool:
        return self.scope.actor.kind == "user"


class ScopeMissing(Forbidden):
    """This token does not grant that"""

    code = "unauthorized"


def admit(credentials: Credentials, wanted: Wanted, *, now: datetime) -> Watcher:
    """Let somebody watch; NotAuthenticated, Forbidden, or NotFound for what is not theirs."""
    watcher = identify(credentials, now=now)
    if watcher.grants is not None:
        _check_grants(watcher.scope, watcher.grants, wanted)
    else:
        for run_id in wanted.runs:
            runs.get_run(watcher.scope, run_id)
    return watcher


def identify(credentials: Credentials, *, now: datetime) -> Watcher:
    """Who comes with these credentials, if they still open what they did."""
    watcher = _resolve(credentials, now=now)
    require(watcher.scope.actor, Permission.RUNS_READ)
    asked = credentials.environment
    if asked and parse_public_id("env", asked) != watcher.scope.environment_id:
        raise NotFound("This credential is for another environment")
    return watcher


def _resolve(credentials: Credentials, *, now: datetime) -> Watcher:
    bearer = credentials.bearer
    if len(bearer) > _LONGEST:
        raise NotAuthenticated
    if not bearer:
        return _person(_of_session(credentials.session_key), credentials)
    if bearer.startswith(_PERSONAL):
        return _person(resolve_token(bearer, now=now), credentials)
    holder = digest(bearer).hex()
    if bearer.startswith(_SECRET_KEY):
        return Watcher(scope=resolve_key(bearer, credentials.branch, now=now), holder=holder)
    opened = public_tokens.verify(bearer, now=now)
    if opened.digest is not None:
        raise NotAuthenticated("A token that may be used once opens no stream")
    return Watcher(scope=opened.scope, holder=holder, grants=opened.grants)


def _of_session(key: str) -> Any:
    if not key:
        raise NotAuthenticated
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(key)
    user = get_user(request)
    if not user.is_authenticated:
        raise NotAuthenticated
    return user


def _person(user: Any, credentials: Credentials) -> Watcher:
    if not credentials.environment:
        raise NotFound("Which environment? Say environment=env_…")
    environment_id: UUID = parse_public_id("env", credentials.environment)
    return Watcher(scope=scope_of_member(user, environment_id), holder=str(user.pk))


def _check_grants(scope: Scope, grants: Grants, wanted: Wanted) -> None:
    for resource in wanted.resources():
        if not grants.allows("read", _spellings(scope, resource)):
            kind, name = resource
            needed = f"read:{kind}:{name}" if name else f"read:{kind}"
            raise ScopeMissing(f"Unauthorized: this token needs the scope {needed}")


def _spellings(scope: Scope, resource: Resource) -> list[Resource]:
    """A run may also be granted by its task, its batch or one of its tags."""
    kind, name = resource
    if kind != "runs" or name is None:
        return [resource]
    run = runs.get_run(scope, parse_public_id("run", name))
    names: list[Resource] = [resource, ("tasks", run.task), *(("tags", tag) for tag in run.tags)]
    if run.batch_id:
        names.append(("batch", public_id("batch", run.batch_id)))
    return names


def refusal(error: DomainError) -> dict[str, Any]:
    """A refusal as clients of the API know it."""
    return {"error": error.message, "code": error.code}
