"""Personal tokens: create, use, revoke."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import transaction

from apps.accounts import policy
from apps.accounts.errors import NotAuthenticated
from apps.accounts.models import PersonalToken, User
from apps.core.crypto import digest, new_token
from apps.core.errors import Invalid, NotFound


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedToken:
    """A new personal token; the secret is shown now and never again."""

    token_id: UUID
    secret: str
    hint: str


@transaction.atomic
def create_token(
    user: User, *, name: str, now: datetime, expires_at: datetime | None = None
) -> CreatedToken:
    """Give a person a new token; raises Invalid."""
    User.objects.select_for_update().get(pk=user.pk)  # so that the limit holds
    name = policy.label(name)[: policy.NAME_LENGTH]
    if not name:
        raise Invalid("A token needs a name", detail={"name": ["empty"]})
    if expires_at is not None and expires_at <= now:
        raise Invalid("A token must expire in the future", detail={"expires_at": ["past"]})
    if user.tokens.usable(now).count() >= policy.TOKENS_PER_PERSON:
        raise Invalid(f"A person may have {policy.TOKENS_PER_PERSON} tokens: revoke one first")
    secret = new_token(policy.TOKEN_PREFIX)
    token = PersonalToken.objects.create(
        user=user,
        name=name,
        digest=digest(secret),
        hint=policy.hint(secret, prefix=policy.TOKEN_PREFIX),
        created_at=now,
        expires_at=expires_at,
    )
    return CreatedToken(token_id=token.id, secret=secret, hint=token.hint)


def resolve_token(secret: str, *, now: datetime) -> User:
    """The person a token acts as; notes the use; raises NotAuthenticated."""
    if not secret.startswith(policy.TOKEN_PREFIX):
        raise NotAuthenticated
    found = PersonalToken.objects.usable(now).filter(digest=digest(secret), user__is_active=True)
    token = found.select_related("user").first()
    if token is None:
        raise NotAuthenticated
    if policy.use_is_stale(token.used_at, now=now):
        PersonalToken.objects.filter(pk=token.pk).update(used_at=now)
    return token.user


@transaction.atomic
def revoke_token(user: User, *, token_id: UUID, now: datetime) -> None:
    """End a person's own token at once; once more changes nothing."""
    token = PersonalToken.objects.select_for_update().filter(pk=token_id, user=user).first()
    if token is None:
        raise NotFound
    if token.revoked_at is None:
        token.revoked_at = now
        token.save(update_fields=["revoked_at"])
