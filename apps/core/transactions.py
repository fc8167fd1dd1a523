"""Transactions that are tried again when PostgreSQL picked them as a deadlock's victim."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from django.db import OperationalError, connection, transaction
from psycopg import errors

P = ParamSpec("P")
T = TypeVar("T")

_TRIES = 5


def retried(operation: Callable[P, T]) -> Callable[P, T]:
    """Run `operation` in a transaction, again after a deadlock or serialization failure.

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
            except OperationalError as error:
                if not is_transient(error):
                    raise
        with transaction.atomic():
            return operation(*args, **kwargs)

    return run


def is_transient(error: Exception) -> bool:
    """Whether the same transaction may succeed when it is simply tried again."""
    return isinstance(error.__cause__, errors.DeadlockDetected | errors.SerializationFailure)
