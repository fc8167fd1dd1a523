"""What allauth asks of us: who may sign up, where people may be sent, how secrets are kept."""

from __future__ import annotations

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from django.contrib import messages
from django.http import HttpRequest
from django.shortcuts import redirect

from apps.accounts.operations.sealing import seal_factor, unseal_factor
from apps.accounts.policy import NAME_LENGTH, label, own_path
from apps.core import clock
from apps.orgs.queries import may_sign_up

# What happened is plain from the page that follows.
_UNSAID = ("account/messages/logged_in.txt", "account/messages/logged_out.txt")

_PASSKEY_AGAIN = "mfa_reauthenticate:webauthn"
_AGAIN = {_PASSKEY_AGAIN: "Use a passkey", "mfa_reauthenticate": "Use a code"}


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth has no types
    """People come by a link or by GitHub; nobody signs up with a password."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def is_safe_url(self, url: str | None) -> bool:
        return bool(own_path(url or ""))

    def get_reauthentication_methods(self, user: Any) -> list[dict[str, Any]]:
        """A passkey first: whoever has one need not find and type anything."""
        methods: list[dict[str, Any]] = super().get_reauthentication_methods(user)
        for method in methods:
            method["description"] = _AGAIN.get(method["id"], method["description"])
        return sorted(methods, key=lambda method: method["id"] != _PASSKEY_AGAIN)

    def add_message(
        self,
        request: HttpRequest,
        level: int,
        message_template: str | None = None,
        *rest: Any,
        **more: Any,
    ) -> None:
        if message_template not in _UNSAID:
            super().add_message(request, level, message_template, *rest, **more)


class SecondFactorAdapter(DefaultMFAAdapter):  # type: ignore[misc]  # allauth has no types
    """Secrets of authenticators are sealed, as everything that must be read again."""

    def encrypt(self, text: str) -> str:
        return seal_factor(text)

    def decrypt(self, encrypted_text: str) -> str:
        return unseal_factor(encrypted_text)


class GitHubAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]  # allauth has no types
    """Takes from GitHub only addresses that GitHub has verified."""

    def pre_social_login(self, request: HttpRequest, sociallogin: Any) -> None:
        shown = [address for address in sociallogin.email_addresses if address.verified]
        sociallogin.email_addresses = shown
        if not shown and not sociallogin.is_existing:
            _turn_away(request, "Your GitHub account has no verified e-mail address: verify one.")
        if not sociallogin.is_existing:
            chosen = next((address for address in shown if address.primary), shown[0])
            sociallogin.user.email = chosen.email.lower()
        elif not sociallogin.user.is_active:
            _turn_away(request, "This account is not active: ask whoever runs this server.")

    def is_open_for_signup(self, request: HttpRequest, sociallogin: Any) -> bool:
        if not may_sign_up(sociallogin.user.email, now=clock.now()):
            _turn_away(
                request,
                f"There is no account for {sociallogin.user.email}. New people join by invite: "
                "ask an owner or admin of your organization for one.",
            )
        return True

    def populate_user(self, request: HttpRequest, sociallogin: Any, data: dict[str, Any]) -> Any:
        user = sociallogin.user
        user.email = data.get("email") or ""
        user.name = label(data.get("name") or data.get("username") or "")[:NAME_LENGTH]
        return user

    def on_authentication_error(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        _turn_away(request, "GitHub did not sign you in. Try again, or use a link by mail.")


def _turn_away(request: HttpRequest, why: str) -> None:
    messages.error(request, why)
    raise ImmediateHttpResponse(redirect("account_login"))
