"""Public tokens: JWTs that a browser may hold, signed with an environment's secret key."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import jwt

from apps.api.caller import Caller
from apps.api.errors import Unauthorized
from apps.api.grants import Grants
from apps.core.crypto import digest
from apps.core.errors import NotFound
from apps.core.ids import parse_public_id, public_id
from apps.environments.credentials import public_scope, signing_keys

# Constants of the clients, the same for every server.
ISSUER = "https://id.trigger.dev"
AUDIENCE = "https://api.trigger.dev"
_ALGORITHM = "HS256"
_REQUIRED = ["exp", "iss", "aud", "sub"]


def verify(token: str, *, now: datetime) -> Caller:
    """Who holds this token and what it grants; raises Unauthorized."""
    environment_id = _claimed_environment(token)
    for secret in signing_keys(environment_id, now=now):
        if claims := _open(token, secret):
            return _caller(token, claims, environment_id, now=now)
    raise Unauthorized("Invalid public token: it was not signed with a key of its environment")


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
            raise Unauthorized("Invalid public token: it does not say that it is public")
        return parse_public_id("env", str(claims.get("sub")))
    except (jwt.InvalidTokenError, NotFound):
        raise Unauthorized("Invalid public token: it is malformed") from None


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
        raise Unauthorized("Invalid public token: it has expired") from None
    except jwt.InvalidTokenError as error:
        raise Unauthorized(f"Invalid public token: {error}") from None
    return claims


def _key(secret: str) -> bytes:
    # HMAC pads its key with zeros anyway; PyJWT warns of keys that are shorter than the hash.
    return secret.encode().ljust(32, b"\0")


def _caller(token: str, claims: dict[str, Any], environment_id: UUID, *, now: datetime) -> Caller:
    scopes = claims.get("scopes") or ()
    if not isinstance(scopes, list | tuple) or not all(isinstance(scope, str) for scope in scopes):
        raise Unauthorized("Invalid public token: its scopes are not a list of strings")
    return Caller(
        environment=public_scope(environment_id, scopes=tuple(scopes), now=now),
        grants=Grants.parse(scopes),
        token_digest=digest(token) if claims.get("otu") is True else None,
    )
