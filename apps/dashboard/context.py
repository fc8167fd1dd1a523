"""What templates find on every page, also on those that a library renders."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from apps.core import clock


def everywhere(request: HttpRequest) -> dict[str, Any]:
    """The chosen theme, the time, and who acts as whom."""
    chosen = request.COOKIES.get("theme", "")
    return {
        "theme": chosen if chosen in ("light", "dark") else "",
        "now": clock.now(),
        "impersonator": getattr(request, "impersonator", None),
    }
