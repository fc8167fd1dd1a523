"""What a person sees of their own account."""

from __future__ import annotations

from datetime import datetime

from apps.accounts.errors import CodeUnusable
from apps.accounts.models import AuthorizationCode, PersonalToken, User
from apps.core.crypto import digest


def list_tokens(user: User) -> list[PersonalToken]:
    """A person's own tokens that are not revoked, newest first."""
    return list(user.tokens.filter(revoked_at=None).order_by("-id"))


def pending_code(code: str, *, now: datetime) -> AuthorizationCode:
    """What the approval page shows; raises CodeUnusable."""
    found = AuthorizationCode.objects.filter(
        digest=digest(code), redeemed_at=None, expires_at__gt=now
    ).first()
    if found is None:
        raise CodeUnusable
    return found
