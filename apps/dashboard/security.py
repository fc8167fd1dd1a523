"""What a page of ours may load and run: only what this server sends, and nothing inline.

The one inline script is the import map, which carries the nonce of its response. Positions and
widths are set by scripts or SVG attributes, for a `style` attribute would be refused.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from django.conf import settings
from django.http.response import HttpResponseBase

from apps.dashboard.requests import PageRequest

_POLICY = {
    "default-src": "'none'",
    "script-src": "'self' 'nonce-{nonce}'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "font-src": "'self'",
    "connect-src": "'self'",
    "manifest-src": "'self'",
    "form-action": "{forms}",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}
_TEMPLATE = "; ".join(f"{name} {value}" for name, value in _POLICY.items())


class ContentSecurityPolicy:
    """Send the policy with every HTML page; views that need another one set it themselves."""

    def __init__(self, get_response: Callable[[PageRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: PageRequest) -> HttpResponseBase:
        nonce = secrets.token_urlsafe(16)
        request.csp_nonce = nonce
        response = self._get_response(request)
        if _is_page(response):
            forms = " ".join(["'self'", *settings.CSP_FORM_TARGETS])
            policy = _TEMPLATE.format(nonce=nonce, forms=forms)
            response.headers.setdefault("Content-Security-Policy", policy)
        return response


def _is_page(response: HttpResponseBase) -> bool:
    is_html = response.headers.get("Content-Type", "").startswith("text/html")
    # Django's own page about an error is styled inline; it is shown to developers only.
    return is_html and not (settings.DEBUG and response.status_code == 500)
