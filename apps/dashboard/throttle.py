"""How often the same address, or the same visitor, may try something: counted in Redis."""

from __future__ import annotations

from allauth.account.adapter import get_adapter
from allauth.core.internal import ratelimit
from django.http import HttpRequest

from apps.core.errors import LimitExceeded

# In allauth's words: so many per minute or day, per visitor's network address or per what is named.
_RATES = {
    "sign_in_link": "10/m/ip,60/h/ip,3/m/key,30/d/key",
    "device_code": "20/m/ip",
    "invite": "30/m/ip",
}
_PATIENCE_SECONDS = 60.0


def throttle(request: HttpRequest, action: str, *, key: str = "-") -> None:
    """Count one try of `action`; raises LimitExceeded when there were too many."""
    used = ratelimit.consume(
        request, app="apps.dashboard", action=action, config=_RATES, key=key, limit_get=True
    )
    if used is None:
        raise LimitExceeded("Too many tries: wait a minute", retry_after=_PATIENCE_SECONDS)


def visitor_address(request: HttpRequest) -> str | None:
    """Where a request came from, past a proxy that is trusted."""
    address: str | None = get_adapter().get_client_ip(request)
    return address
