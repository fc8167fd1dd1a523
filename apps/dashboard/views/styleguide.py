"""Every component in every state, on one page: the test bed of the design system."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.http import HttpResponse
from django.views.decorators.http import require_safe

from apps.core import clock
from apps.core.errors import NotFound
from apps.dashboard.cursors import Pager
from apps.dashboard.pages import for_people, page, person
from apps.dashboard.requests import PageRequest
from apps.dashboard.statuses import LOOKS


@require_safe
@for_people
def styleguide(request: PageRequest) -> HttpResponse:
    """For developers of Holdfast: with DEBUG, or for staff."""
    if not (settings.DEBUG or person(request).is_staff):
        raise NotFound
    now = clock.now()
    context = {
        "statuses": list(LOOKS),
        "moments": [now - timedelta(seconds=seconds) for seconds in (1, 40, 500, 9_000, 300_000)],
        "series": [{"ok": 3 + index % 5, "bad": index % 3, "idle": 1} for index in range(24)],
        "pager": Pager(next="example"),
        "tones": ["idle", "info", "ok", "warn", "bad", "wait", "accent"],
    }
    return page(request, "dashboard/styleguide.html", context, section="styleguide")
