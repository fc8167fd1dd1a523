"""Every HTTP route of the system, with a path to visit it by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver
from django.utils.regex_helper import normalize

# What people see, who bring a session and no token; tests/architecture/test_pages.py goes there.
PAGES = (
    "orgs/",
    "sign-",
    "invites/",
    "impersonation",
    "account",
    "onboarding",
    "welcome",
    "styleguide",
)

_METHODS = ("get", "post", "put", "patch", "delete")


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One method of one path."""

    method: str
    template: str  # such as "api/v3/runs/%(run)s"
    parameters: frozenset[str]

    def __str__(self) -> str:
        return f"{self.method.upper()} /{self.template}"

    def path(self, samples: Mapping[str, str]) -> str:
        """The path with samples for its parameters; KeyError asks to add one for a new name."""
        return "/" + self.template % {name: samples[name] for name in self.parameters}


def every_route(*, outside: tuple[str, ...] = ()) -> list[Route]:
    """All routes of the URL conf but those below the prefixes of `outside`."""
    found = _walk(get_resolver().url_patterns, prefix="")
    return [route for route in found if not route.template.startswith(outside)]


def names_below(patterns: Sequence[Any]) -> set[str]:
    """What the routes are called, without their namespaces."""
    found = set()
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            found |= names_below(pattern.url_patterns)
        elif pattern.name:
            found.add(pattern.name)
    return found


def _walk(patterns: list[Any], *, prefix: str) -> Iterator[Route]:
    for pattern in patterns:
        regex = prefix + pattern.pattern.regex.pattern.removeprefix("^")
        if isinstance(pattern, URLResolver):
            yield from _walk(pattern.url_patterns, prefix=regex)
        elif isinstance(pattern, URLPattern):
            template, parameters = normalize(regex)[0]
            for method in _methods(pattern.callback):
                yield Route(method=method, template=template, parameters=frozenset(parameters))


def _methods(view: Callable[..., Any]) -> list[str]:
    view_class = getattr(view, "view_class", None) or getattr(view, "cls", None)
    if view_class is None:
        return ["get", "post"]
    return [method for method in _METHODS if hasattr(view_class, method)] or ["get"]
