"""How places are spelled in addresses: `/orgs/acme/projects/shop/env/prod/runs`."""

from __future__ import annotations

from django.urls import reverse

from apps.environments.access import Place

# Neither may be in the name of a branch, so both ways are certain.
_MARK, _SLASH = "~", ":"


def spell(env: str, branch: str | None) -> str:
    """An environment as one segment of a path: `prod`, or `preview~feature:cart`."""
    return f"{env}{_MARK}{branch.replace('/', _SLASH)}" if branch else env


def parse(segment: str) -> tuple[str, str | None]:
    """The environment's slug and the branch of a segment."""
    env, mark, branch = segment.partition(_MARK)
    return env, branch.replace(_SLASH, "/") if mark else None


def address(place: Place, page: str, **more: object) -> str:
    """The path of a page in this place."""
    env = spell(place.environment_slug, place.branch)
    return address_in(place, page, env=env, **more)


def address_in(place: Place, page: str, *, env: str, **more: object) -> str:
    """The path of a page in another environment of this project."""
    kwargs = {"organization": place.organization_slug, "project": place.project_slug, "env": env}
    return reverse(f"dashboard:{page}", kwargs={**kwargs, **more})
