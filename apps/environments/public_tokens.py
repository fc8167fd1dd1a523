"""Public tokens: JWTs that a browser may hold, signed with an environment's secret key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import jwt

from apps.accounts.errors import NotAuthenticated
from apps.core.crypto import digest
from apps.core.errors import NotFound
from apps.core.ids import parse_public_id, public_id
from apps.environments.credentials import public_scope, signing_keys
from apps.environments.grants import Grants
from apps.environments.scope import Scope

# Constants of the clients, the same for every server.
ISSUER = "https://id.trigger.dev"
AUDIENCE = "https://api.trigger.dev"
_ALGORITHM = "HS256"
_REQUIRED = ["exp", "iss", "aud", "sub"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicToken:
    """What a public token opens, and what it allows there."""

    scope: Scope
    grants: Grants
    digest: bytes | None  # of one that may be used once


def verify(token: str, *, now: datetime) -> PublicToken:
    """What this token opens and grants; raises NotAuthenticated."""
    environment_id = _claimed_environment(token)
    for secret in signing_keys(environment_id, now=now):
        if claims := _open(token, secret):
            return _opened(token, claims, environment_id, now=now)
    raise NotAuthenticated("Invalid public token: it was not signed with a key of its environment")


def sign(
    environment_id: UUID,
    scopes: Sequence[str],
    *,
    lifetime: timedelta,
    now: datetime,
    is_one_time: bool = False,
) -> str:
    """A token for an environment, under its newest key."""
    claims = {
        "sub": public_id("env", environment_id),
        "pub": True,
        "scopes": list(scopes),
        "iss": ISSUER,
        "aud": AUDIENCE,
        "iat": now,
        "exp": now + lifetime,
        **({"otu": True} if is_one_time else {}),
    }
    secret = signing_keys(environment_id, now=now)[0]
    return jwt.encode(claims, _key(secret), algorithm=_ALGORITHM)


def _claimed_environment(token: str) -> UUID:
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
        if claims.get("pub") is not True:
            raise NotAuthenticated("Invalid public token: it does not say that it is public")
        return parse_public_id("env", str(claims.get("sub")))
    except (jwt.InvalidTokenError, NotFound):
        raise NotAuthenticated("Invalid public token: it is malformed") from None


def _open(token: str, secret: str) -> dict[str, Any] | None:
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            _key(secret),
            algorithms=[_ALGORITHM],
            issuer=ISSUER,
            audience=AUDIENCE,
            options={"require": _REQUIRED},
        )
    except jwt.InvalidSignatureError:
        return None
    except jwt.ExpiredSignatureError:
        raise NotAuthenticated("Invalid public token: it has expired") from None
    except jwt.InvalidTokenError as error:
        raise NotAuthenticated(f"Invalid public token: {error}") from None
    return claims


def _key(secret: str) -> bytes:
    # HMAC pads its key with zeros anyway; PyJWT warns of keys that are shorter than the hash.
    return secret.encode().ljust(32, b"\0")


def _opened(
    token: str, claims: dict[str, Any], environment_id: UUID, *, now: datetime
) -> PublicToken:
    scopes = claims.get("scopes") or ()
    if not isinstance(scopes, list | tuple) or not all(isinstance(scope, str) for scope in scopes):
        raise NotAuthenticated("Invalid public token: its scopes are not a list of strings")
    return PublicToken(
        scope=public_scope(environment_id, scopes=tuple(scopes), now=now),
        grants=Grants.parse(scopes),
        digest=digest(token) if claims.get("otu") is True else None,
    )
