"""Which credentials each method of an endpoint takes; without a word, a secret key only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from apps.orgs.permissions import Permission

Handler = TypeVar("Handler", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Public:
    """A public token with this action on these kinds; `kwarg` names the id in the path."""

    action: str
    kinds: tuple[str, ...]
    kwarg: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may call: anybody, environments by key, people, holders of a public token.

    A `person` reaches what a path names. With a `member` permission, a person whose headers name
    an environment may call as its key would, if their role has the permission.
    """

    anybody: bool = False
    key: bool = True
    person: bool = False
    member: Permission | None = None
    public: Public | None = None


KEY_ONLY = Access()
_ATTRIBUTE = "holdfast_access"


def accepts(
    *,
    anybody: bool = False,
    key: bool = True,
    person: bool = False,
    member: Permission | None = None,
    public: Public | None = None,
) -> Callable[[Handler], Handler]:
    """Declare who may call this method."""
    access = Access(anybody=anybody, key=key, person=person, member=member, public=public)

    def mark(handler: Handler) -> Handler:
        setattr(handler, _ATTRIBUTE, access)
        return handler

    return mark


def of(handler: Callable[..., Any]) -> Access:
    """What `accepts` declared for a handler."""
    found: Access = getattr(handler, _ATTRIBUTE, KEY_ONLY)
    return found
