"""Signing in by a link in a mail: asked for, mailed, used once.

Asking does the same for every address, known or not, and tells nothing: what differs is the
letter, which only the reader of that address sees. A link signs in at once only the browser that
asked for it; every other has to confirm, so that a scanner which opens links uses none up.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from allauth.account.models import EmailAddress
from django.conf import settings
from django.db import transaction

from apps.accounts import policy
from apps.accounts.errors import Inactive, LinkUnusable, SignUpClosed
from apps.accounts.facts import SignInLinkCreated
from apps.accounts.models import SignInLink, User
from apps.accounts.queries import find_person
from apps.core.crypto import digest, new_token, seal, unseal
from apps.core.facts import publish
from apps.core.letters import send_letter

_KEPT_FOR = timedelta(days=1)
_SWEPT_AT_ONCE = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """Who asks for a link: the secret of their browser, and what the letter says of them."""

    browser: str
    user_agent: str = ""
    ip: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedIn:
    """Whom a link signed in, and where they wanted to go."""

    user: User
    is_new: bool
    next_path: str


@transaction.atomic
def request_link(
    *, email: str, asking: Asking, may_sign_up: bool, next_path: str = "", now: datetime
) -> SignInLink:
    """Have a link mailed to an address, whoever it may be of; raises Invalid."""
    _sweep(now)
    link, _ = _create(
        email=policy.clean_email(email),
        browser=digest(asking.browser),
        may_sign_up=may_sign_up,
        next_path=policy.own_path(next_path),
        user_agent=policy.label(asking.user_agent)[: policy.USER_AGENT_LENGTH],
        ip=asking.ip,
        created_at=now,
        expires_at=now + policy.LINK_LIFETIME,
    )
    publish(SignInLinkCreated(link_id=link.id, at=now))
    return link


@transaction.atomic
def one_time_link(
    user: User,
    *,
    now: datetime,
    next_path: str = "",
    lifetime: timedelta = policy.LINK_LIFETIME,
) -> str:
    """The address of a link for somebody, which is not mailed: for whoever runs the server."""
    _, token = _create(
        email=user.email,
        browser=b"",
        next_path=policy.own_path(next_path),
        created_at=now,
        expires_at=now + lifetime,
        sent_at=now,
    )
    return _address(token)


def is_same_browser(link: SignInLink, browser: str) -> bool:
    """Whether the browser with this secret is the one that asked for the link."""
    return bool(browser) and hmac.compare_digest(bytes(link.browser), digest(browser))


@transaction.atomic
def use_link(*, token: str, now: datetime) -> SignedIn:
    """Spend a link, and make the person if need be; raises LinkUnusable, Inactive, SignUpClosed."""
    link = SignInLink.objects.open(now).select_for_update().filter(digest=digest(token)).first()
    if link is None:
        raise LinkUnusable
    user, is_new = _person(link)
    # Older letters to the same address end too: whoever got in needs them no more.
    SignInLink.objects.open(now).filter(email=link.email).update(used_at=now)
    _confirm_address(user, link.email)
    return SignedIn(user=user, is_new=is_new, next_path=link.next_path)


def send_link(*, link_id: UUID, now: datetime) -> bool:
    """Mail a link unless that was done, or it is not open any more; whether it was sent."""
    with transaction.atomic():
        locked = SignInLink.objects.open(now).select_for_update(skip_locked=True)
        link = locked.filter(pk=link_id, sent_at=None).first()
        if link is None:
            return False
        # Sent before it is noted: a crash in between mails twice, which beats not at all.
        _send(link)
        link.sent_at = now
        link.save(update_fields=["sent_at"])
    return True


def _send(link: SignInLink) -> None:
    is_known = find_person(link.email) is not None
    name = "sign_in" if is_known else "sign_up" if link.may_sign_up else "no_account"
    context = {
        "link": link,
        "url": _address(unseal(link.sealed, context=link.seal_context)),
        "minutes": policy.LINK_LIFETIME // timedelta(minutes=1),
        "server": settings.SERVER_URL,
    }
    send_letter(name, to=link.email, context=context)


def _create(**fields: object) -> tuple[SignInLink, str]:
    token = new_token(policy.LINK_PREFIX, length=40)
    link = SignInLink(**fields, digest=digest(token))
    link.sealed = seal(token, context=link.seal_context)
    link.save(force_insert=True)
    return link, token


def _person(link: SignInLink) -> tuple[User, bool]:
    found = find_person(link.email)
    if found is None and not link.may_sign_up:
        raise SignUpClosed
    user = found or User.objects.create_user(link.email)
    if not user.is_active:
        raise Inactive
    return user, found is None


def _confirm_address(user: User, email: str) -> None:
    """Note that somebody reads the mail of an address, as they have just shown."""
    theirs = EmailAddress.objects.filter(user=user)
    known = theirs.filter(email=email).first() or EmailAddress(user=user, email=email)
    known.verified = True
    known.primary = known.primary or not theirs.filter(primary=True).exists()
    known.save()


def _address(token: str) -> str:
    return f"{settings.SERVER_URL}/sign-in/link/{token}"


def _sweep(now: datetime) -> None:
    stale = SignInLink.objects.filter(expires_at__lt=now - _KEPT_FOR)
    locked = stale.order_by("expires_at").select_for_update(skip_locked=True)
    SignInLink.objects.filter(
        pk__in=list(locked.values_list("pk", flat=True)[:_SWEPT_AT_ONCE])
    ).delete()
