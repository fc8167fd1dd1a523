"""What a person sees of their own account."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from allauth.account.models import EmailAddress
from allauth.usersessions.models import UserSession
from django.db.models.functions import Lower

from apps.accounts.errors import CodeUnusable, LinkUnusable
from apps.accounts.models import AuthorizationCode, PersonalToken, SignInLink, User
from apps.core.crypto import digest
from apps.core.errors import NotFound
from apps.core.ids import parse_public_id

_UNSENT_AT_ONCE = 100


def list_tokens(user: User) -> list[PersonalToken]:
    """A person's own tokens that are not revoked, newest first."""
    return list(user.tokens.filter(revoked_at=None).order_by("-id"))


def list_sessions(user: User) -> list[UserSession]:
    """Where a person is signed in, the latest first."""
    found: list[UserSession] = UserSession.objects.purge_and_list(user)
    return sorted(found, key=lambda session: session.last_seen_at, reverse=True)


def pending_code(code: str, *, now: datetime) -> AuthorizationCode:
    """What the approval page shows; raises CodeUnusable."""
    found = AuthorizationCode.objects.filter(
        digest=digest(code), redeemed_at=None, denied_at=None, expires_at__gt=now
    ).first()
    if found is None:
        raise CodeUnusable
    return found


def open_link(token: str, *, now: datetime) -> SignInLink:
    """What the page of a link shows; raises LinkUnusable."""
    found = SignInLink.objects.open(now).filter(digest=digest(token)).first()
    if found is None:
        raise LinkUnusable
    return found


def unsent_links(*, before: datetime, now: datetime) -> list[UUID]:
    """Open links of before that moment whose mail has not gone out."""
    unsent = SignInLink.objects.open(now).filter(sent_at=None, created_at__lt=before)
    return list(unsent.order_by("id").values_list("id", flat=True)[:_UNSENT_AT_ONCE])


def person_of(public: str) -> User:
    """The person of this public id; NotFound."""
    found = User.objects.filter(pk=parse_public_id("user", public)).first()
    if found is None:
        raise NotFound
    return found


def find_person(email: str) -> User | None:
    """Who reads the mail of this address (in lower case), as far as was shown; or nobody."""
    named = User.objects.alias(lower_email=Lower("email")).filter(lower_email=email)
    shown = User.objects.filter(emailaddress__email=email, emailaddress__verified=True)
    return named.first() or shown.first()


def addresses_of(user: User) -> set[str]:
    """The addresses that are known to be a person's, in lower case."""
    shown = EmailAddress.objects.filter(user=user, verified=True).values_list("email", flat=True)
    return {user.email.lower(), *(email.lower() for email in shown)}


def has_nobody() -> bool:
    """Whether nobody has an account yet, as on a new server."""
    return not User.objects.exists()
