"""What a public token allows: the scope grammar ``action[:type[:id]]``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

Resource = tuple[str, str | None]
"""A kind of thing and the id of one, or None for the whole collection."""

_EVERYTHING = "admin"
# A token that may write tasks may also start them, as older clients ask for it.
_IMPLIED = {("trigger", "tasks"): "write", ("batchTrigger", "tasks"): "write"}


@dataclass(frozen=True, slots=True)
class _Scope:
    action: str
    kind: str
    name: str | None

    def covers(self, action: str, kind: str) -> bool:
        if self.action == _EVERYTHING and not self.kind:
            return True
        actions = {action, _IMPLIED.get((action, kind), action), "*"}
        return self.action in actions and self.kind in (kind, "all")


@dataclass(frozen=True, slots=True)
class Grants:
    """The scopes of one public token, taken apart."""

    _scopes: tuple[_Scope, ...]

    @classmethod
    def parse(cls, scopes: Iterable[str]) -> Grants:
        """Take each scope apart at its first two colons; an id may itself contain colons."""
        return cls(tuple(_parse(scope) for scope in scopes))

    def allows(self, action: str, resources: Iterable[Resource]) -> bool:
        """Whether `action` is granted on at least one of these names of the same thing."""
        return any(
            scope.covers(action, kind) and scope.name in (None, name)
            for kind, name in resources
            for scope in self._scopes
        )

    def touches(self, action: str, kinds: Iterable[str]) -> bool:
        """Whether `action` is granted on anything at all of these kinds."""
        return any(scope.covers(action, kind) for kind in kinds for scope in self._scopes)


def _parse(scope: str) -> _Scope:
    action, _, rest = scope.partition(":")
    kind, _, name = rest.partition(":")
    return _Scope(action=action, kind=kind, name=name or None)
