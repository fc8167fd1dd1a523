"""Identifiers: UUIDv7 inside, `prefix_` and 26 characters of Crockford base 32 outside.

The public form is only a spelling of the UUID, so it needs no column and no index of its own,
and it sorts as the UUID does: by time.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import uuid_utils

from apps.core.errors import NotFound

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUES = {letter: value for value, letter in enumerate(_ALPHABET)}
_LENGTH = 26


def new_id() -> UUID:
    """A fresh UUIDv7, monotonic within this process."""
    return UUID(int=uuid_utils.uuid7().int)


def created_at(identifier: UUID) -> datetime:
    """When a UUIDv7 was made, to the millisecond."""
    return datetime.fromtimestamp((identifier.int >> 80) / 1000, UTC)


def floor(moment: datetime) -> UUID:
    """The smallest UUIDv7 of this moment: a lower bound for range conditions on ids."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return UUID(int=((moment - epoch) // timedelta(milliseconds=1)) << 80)


def public_id(prefix: str, identifier: UUID) -> str:
    """The outside spelling of an id, such as ``run_01jd…``."""
    number = identifier.int
    letters = [_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5)]
    return f"{prefix}_{''.join(letters)}"


def parse_public_id(prefix: str, text: str) -> UUID:
    """The id behind its outside spelling; anything else is NotFound, as an unknown id is."""
    kind, _, letters = text.rpartition("_")
    if kind != prefix or len(letters) != _LENGTH or not set(letters) <= _VALUES.keys():
        raise NotFound
    number = 0
    for letter in letters:
        number = number << 5 | _VALUES[letter]
    if number >> 128:
        raise NotFound
    return UUID(int=number)
