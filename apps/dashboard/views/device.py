"""The page on which somebody lets a command line act for them, or not."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from apps.accounts.errors import CodeUnusable
from apps.accounts.operations.login import approve_code, deny_code
from apps.accounts.queries import pending_code
from apps.core import clock
from apps.dashboard.pages import page
from apps.dashboard.requests import PageRequest
from apps.dashboard.throttle import throttle


@never_cache
@login_required
@require_http_methods(["GET", "POST"])
def device_login(request: PageRequest, code: str) -> HttpResponse:
    """Show which command line asks, and take the answer."""
    throttle(request, "device_code")
    try:
        if request.method == "POST":
            return _answer(request, code)
        found = pending_code(code, now=clock.now())
    except CodeUnusable as error:
        return page(request, "account/device_unusable.html", {"error": error}, status=400)
    return page(request, "account/device.html", {"code": found})


def _answer(request: PageRequest, code: str) -> HttpResponse:
    user: Any = request.user
    is_approved = request.POST.get("answer") == "approve"
    if is_approved:
        approve_code(user, code=code, now=clock.now())
    else:
        deny_code(code=code, now=clock.now())
    return page(request, "account/device_answered.html", {"is_approved": is_approved})
