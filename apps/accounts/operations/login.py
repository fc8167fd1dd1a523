"""Signing in a command line: a code is created, approved or denied in the browser, redeemed once.

Creating and polling need no credential. A poll that finds nothing new is one indexed read without
a lock, and each creation sweeps a few stale codes, so that strangers cannot fill the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction

from apps.accounts import policy
from apps.accounts.errors import CodeDenied, CodeUnusable
from apps.accounts.models import AuthorizationCode, User
from apps.accounts.operations.tokens import CreatedToken, create_token
from apps.core.crypto import digest, new_token
from apps.core.errors import Invalid

_KEPT_FOR = timedelta(days=1)
_SWEPT_AT_ONCE = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedCode:
    """What a command line shows, and then polls with."""

    code: str
    expires_at: datetime


@transaction.atomic
def create_code(*, now: datetime, client: str = "", challenge: str = "") -> CreatedCode:
    """Start a login; with a `challenge`, only who has its verifier can redeem the code."""
    if len(challenge) not in (0, 43):
        raise Invalid("A code challenge has 43 characters", detail={"challenge": ["malformed"]})
    _sweep(now)
    code = new_token("", length=40)
    made = AuthorizationCode.objects.create(
        digest=digest(code),
        hint=policy.hint(code, prefix=""),
        client=policy.label(client)[:200],
        challenge=challenge,
        created_at=now,
        expires_at=now + policy.CODE_LIFETIME,
    )
    return CreatedCode(code=code, expires_at=made.expires_at)


@transaction.atomic
def approve_code(user: User, *, code: str, now: datetime) -> None:
    """Let the command line that shows this code act as `user`; raises CodeUnusable."""
    found = _usable(code, now=now, lock=True)
    if found.user_id not in (None, user.pk) or found.denied_at is not None:
        raise CodeUnusable
    if found.approved_at is None:
        found.user, found.approved_at = user, now
        found.save(update_fields=["user", "approved_at"])


@transaction.atomic
def deny_code(*, code: str, now: datetime) -> None:
    """Let the command line that shows this code act as nobody; raises CodeUnusable."""
    found = _usable(code, now=now, lock=True)
    if found.approved_at is not None:
        raise CodeUnusable("This code was approved: revoke the token that it was traded for")
    if found.denied_at is None:
        found.denied_at = now
        found.save(update_fields=["denied_at"])


def redeem_code(*, code: str, now: datetime, verifier: str | None = None) -> CreatedToken | None:
    """Trade an approved code for a personal token, once; None until somebody approves it."""
    found = _usable(code, now=now)
    if found.denied_at is not None:
        raise CodeDenied
    if found.approved_at is None:
        return None
    return _redeem(code=code, verifier=verifier, now=now)


@transaction.atomic
def _redeem(*, code: str, verifier: str | None, now: datetime) -> CreatedToken:
    found = _usable(code, now=now, lock=True)
    if found.user is None or not policy.verifier_matches(found.challenge, verifier):
        raise CodeUnusable
    name = f"Command line {found.client}".strip()
    token = create_token(found.user, name=name, now=now)
    found.token_id, found.redeemed_at = token.token_id, now
    found.save(update_fields=["token", "redeemed_at"])
    return token


def _usable(code: str, *, now: datetime, lock: bool = False) -> AuthorizationCode:
    codes = AuthorizationCode.objects.filter(
        digest=digest(code), redeemed_at=None, expires_at__gt=now
    )
    found = (codes.select_for_update() if lock else codes).first()
    if found is None:
        raise CodeUnusable
    return found


def _sweep(now: datetime) -> None:
    stale = AuthorizationCode.objects.filter(expires_at__lt=now - _KEPT_FOR)
    locked = stale.order_by("expires_at").select_for_update(skip_locked=True)
    AuthorizationCode.objects.filter(
        pk__in=list(locked.values_list("pk", flat=True)[:_SWEPT_AT_ONCE])
    ).delete()
