"""How long things of an account live, and how they are written."""

from __future__ import annotations

import base64
import hashlib
import hmac
import unicodedata
from datetime import datetime, timedelta

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from apps.core.errors import Invalid

TOKEN_PREFIX = "tr_pat_"  # noqa: S105 -- the public part; clients look for it
CODE_LIFETIME = timedelta(minutes=10)
LINK_PREFIX = "tr_link_"
LINK_LIFETIME = timedelta(minutes=15)
USE_IS_NOTED_EVERY = timedelta(minutes=1)
TOKENS_PER_PERSON = 100
NAME_LENGTH = 100
EMAIL_LENGTH = 254
PATH_LENGTH = 500
USER_AGENT_LENGTH = 200


def label(text: str) -> str:
    """A name as it may be kept and shown: one line, without control characters."""
    line = " ".join(text.split())
    # Cc are controls, of which PostgreSQL refuses NUL; Cs are halves of a pair, which are no text.
    return "".join(letter for letter in line if unicodedata.category(letter) not in ("Cc", "Cs"))


def clean_email(email: str) -> str:
    """An e-mail address as it is kept; raises Invalid."""
    email = email.strip().lower()
    try:
        validate_email(email[: EMAIL_LENGTH + 1])
        email.encode()
    except (ValidationError, UnicodeEncodeError):
        raise Invalid("This is not an e-mail address", detail={"email": ["malformed"]}) from None
    if len(email) > EMAIL_LENGTH:
        raise Invalid("The e-mail address is too long", detail={"email": ["too long"]})
    return email


def own_path(path: str) -> str:
    """Where to go after signing in: a path of this server, or nothing."""
    # A browser takes a backslash for a slash, so "/\\evil" would leave; so would "//evil".
    is_path = path.startswith("/") and not path.startswith(("//", "/\\"))
    return path if is_path and path.isprintable() and len(path) <= PATH_LENGTH else ""


def hint(secret: str, *, prefix: str) -> str:
    """What may be shown of a secret: its prefix and its last four characters."""
    return f"{prefix}…{secret[-4:]}"


def use_is_stale(used_at: datetime | None, *, now: datetime) -> bool:
    """Whether the time of latest use is worth a write: not more than once a minute."""
    return used_at is None or now - used_at >= USE_IS_NOTED_EVERY


def verifier_matches(challenge: str, verifier: str | None) -> bool:
    """Whether `verifier` made `challenge` (RFC 7636, S256); an empty challenge asks for none."""
    if not challenge:
        return True
    made = base64.urlsafe_b64encode(hashlib.sha256((verifier or "").encode()).digest())
    return hmac.compare_digest(made.rstrip(b"=").decode(), challenge)
