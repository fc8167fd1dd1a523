"""What the middlewares and the decorators of pages have put on a request, for the types."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import HttpRequest
from django_htmx.middleware import HtmxDetails

from apps.environments.access import Place
from apps.orgs.actors import OrganizationScope


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganizationPlace:
    """Where a person is who looks at an organization as a whole."""

    scope: OrganizationScope
    organization_name: str
    organization_slug: str


class PageRequest(HttpRequest):
    """A request to a page."""

    htmx: HtmxDetails
    csp_nonce: str
    place: Place | OrganizationPlace | None
    can: dict[str, bool]
