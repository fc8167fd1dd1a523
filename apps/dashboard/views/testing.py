"""test."""

from __future__ import annotations

from django.http import HttpResponse
from django.views.decorators.http import require_safe

from apps.dashboard.pages import in_environment, page
from apps.dashboard.requests import PageRequest
from apps.environments.access import Place
from apps.orgs.permissions import Permission


@require_safe
@in_environment(Permission.RUNS_TRIGGER)
def test(request: PageRequest, place: Place) -> HttpResponse:
    """The page."""
    return page(request, "test/page.html", section="test")
