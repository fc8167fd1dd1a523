"""Ids that a run chooses itself, spelled as the server spells them.

A UUIDv7 as 26 characters of Crockford base 32 behind a prefix, so that ids sort by their time.
"""

from __future__ import annotations

import hashlib
import os
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUES = {letter: value for value, letter in enumerate(_ALPHABET)}
_LETTERS = 26
_TIME_SHIFT = 80


def new_waitpoint_id() -> str:
    """A fresh id of a waitpoint."""
    return _spelled(time.time_ns() // 1_000_000, int.from_bytes(os.urandom(10)))


def waitpoint_id_of(run: str, key: str) -> str:
    """The id of the waitpoint that a run names by a key, the same in each of its attempts.

    Args:
        run: The run's id.
        key: The key, as its author wrote it.
    """
    digest = hashlib.sha256(f"{run}\0{key}".encode()).digest()
    return _spelled(_milliseconds(run), int.from_bytes(digest[:10]))


def _spelled(milliseconds: int, random: int) -> str:
    number = milliseconds << _TIME_SHIFT | random
    number = number & ~(0xF << 76) | 0x7 << 76  # the version
    number = number & ~(0x3 << 62) | 0x2 << 62  # the variant
    return "waitpoint_" + "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))


def _milliseconds(public_id: str) -> int:
    """When an id was made; 0 for one that tells no time."""
    letters = public_id.rpartition("_")[2]
    if len(letters) != _LETTERS or not _VALUES.keys() >= set(letters):
        return 0
    number = 0
    for letter in letters:
        number = number << 5 | _VALUES[letter]
    return number >> _TIME_SHIFT & (1 << 48) - 1
