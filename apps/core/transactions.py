"""Transactions that are tried again when PostgreSQL refused them for a reason that passes."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from django.db import DatabaseError, connection, transaction
from psycopg import errors

P = ParamSpec("P")
T = TypeVar("T")

_TRIES = 5


def retried(operation: Callable[P, T]) -> Callable[P, T]:
    """Run `operation` in a transaction, again after a failure that the next try may not have.

    Inside another transaction it simply joins it: only the outermost can be tried again.
    """

    @wraps(operation)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        if connection.in_atomic_block:
            return operation(*args, **kwargs)
        for _ in range(_TRIES - 1):
            try:
                with transaction.atomic():
                    return operation(*args, **kwargs)
            except DatabaseError as error:
                if not is_transient(error):
                    raise
                if is_outdated(error):
                    connection.close()
        with transaction.atomic():
            return operation(*args, **kwargs)

    return run


def is_transient(error: Exception) -> bool:
    """Whether the same transaction may succeed when it is simply tried again."""
    return is_outdated(error) or isinstance(
        error.__cause__, errors.DeadlockDetected | errors.SerializationFailure
    )


def is_outdated(error: Exception) -> bool:
    """Whether this connection has prepared statements from before a migration.

    PostgreSQL refuses to run those whose columns have become more, on this connection for ever.
    """
    return isinstance(error.__cause__, errors.FeatureNotSupported)
