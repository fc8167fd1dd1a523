"""Who is calling: a secret key, a public token, or a person with a personal token."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from apps.api.errors import ScopeMissing, Unauthorized
from apps.environments.grants import Grants, Resource
from apps.environments.scope import Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """What a credential was found to be; a person has no scope until a path names one."""

    environment: Scope | None = None
    user: Any = None  # the person of a personal token
    grants: Grants | None = None  # of a public token; None means everything in the environment
    token_digest: bytes | None = None  # of a public token that may be used once

    @property
    def scope(self) -> Scope:
        """The environment this caller acts in; a person without one is refused."""
        if self.environment is None:
            raise Unauthorized
        return self.environment

    def require(self, action: str, resources: Iterable[Resource]) -> None:
        """Refuse a public token that does not grant `action` on any of these resources."""
        if self.grants is None or self.grants.allows(action, wanted := list(resources)):
            return
        # Only the first is what the caller named; the others would tell what it is not to see.
        (kind, name), *others = wanted
        first = f"{action}:{kind}:{name}" if name else f"{action}:{kind}"
        names = dict.fromkeys([first, *(f"{action}:{kind}" for kind, _ in others)])
        raise ScopeMissing(f"Unauthorized: this token needs one of the scopes {', '.join(names)}")
