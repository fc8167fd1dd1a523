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
_LETTERS = frozenset(_ALPHABET)
_LENGTH = 26
# Ids are spelled and read several times for each run: two letters are written at once, and all are
# read by int(), which knows another base 32.
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
_SHIFTS = range(120, -1, -10)
_INSIDE = str.maketrans(_ALPHABET, "0123456789abcdefghijklmnopqrstuv")


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
    return f"{prefix}_{''.join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS])}"


def parse_public_id(prefix: str, text: str) -> UUID:
    """The id behind its outside spelling; anything else is NotFound, as an unknown id is."""
    kind, _, letters = text.rpartition("_")
    if kind != prefix or len(letters) != _LENGTH or not _LETTERS.issuperset(letters):
        raise NotFound
    number = int(letters.translate(_INSIDE), 32)
    if number >> 128:
        raise NotFound
    return UUID(int=number)
