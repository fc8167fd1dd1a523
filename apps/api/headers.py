"""What the server tells a client, besides the body, about reading what it has just started."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

from apps.api.caller import Caller
from apps.core.ids import public_id
from apps.environments import public_tokens


class Headers(Protocol):
    """What takes headers: a response, or a plain dictionary."""

    def __setitem__(self, name: str, value: str, /) -> None: ...


def give_token(
    response: Headers, caller: Caller, scopes: Sequence[str], *, lifetime: timedelta, now: datetime
) -> None:
    """Let the caller make, or hand it, a public token with these scopes.

    A holder of the secret key signs its own token from the claims; one who came with a public
    token cannot, and is given a signed one.
    """
    claims = {"sub": public_id("env", caller.scope.environment_id), "pub": True}
    response["x-trigger-jwt-claims"] = json.dumps(claims)
    if caller.grants is not None:
        response["x-trigger-jwt"] = public_tokens.sign(
            caller.scope.environment_id, scopes, lifetime=lifetime, now=now
        )
