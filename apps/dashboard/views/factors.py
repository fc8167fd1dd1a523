"""Adding a second factor: allauth's pages, which then count as a fresh proof of who one is."""

from __future__ import annotations

from typing import Any

from allauth.account.internal.flows.login import record_authentication
from allauth.mfa.totp.views import ActivateTOTPView
from allauth.mfa.webauthn.views import AddWebAuthnView
from django.http import HttpResponse


class _Proven:
    """Who has used a factor to add it is not asked for it again by the page that follows."""

    def form_valid(self, form: Any) -> HttpResponse:
        answer: HttpResponse = super().form_valid(form)  # type: ignore[misc]
        request = self.request  # type: ignore[attr-defined]
        record_authentication(request, request.user, "mfa", reauthenticated=True)
        return answer


class AppActivation(_Proven, ActivateTOTPView):  # type: ignore[misc]  # allauth has no types
    """An authenticator app, by a code that it shows."""


class PasskeyAddition(_Proven, AddWebAuthnView):  # type: ignore[misc]  # allauth has no types
    """A passkey or security key."""
