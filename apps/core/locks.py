"""PostgreSQL's advisory locks by name: who holds one is gone when its connection is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

_KEY = "hashtextextended(%s, 0)"


def try_transaction_lock(name: str) -> bool:
    """Take the lock until the end of this transaction; False when another has it."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT pg_try_advisory_xact_lock({_KEY})", [name])
        return bool(cursor.fetchone()[0])


def transaction_lock(name: str) -> None:
    """Wait for the lock and take it until the end of this transaction."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT pg_advisory_xact_lock({_KEY})", [name])


@contextmanager
def try_session_lock(name: str) -> Iterator[bool]:
    """Hold the lock, across transactions, for the block; yields False when another has it."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT pg_try_advisory_lock({_KEY})", [name])
        is_held = bool(cursor.fetchone()[0])
    try:
        yield is_held
    finally:
        if is_held and connection.connection is not None:
            with connection.cursor() as cursor:
                cursor.execute(f"SELECT pg_advisory_unlock({_KEY})", [name])
