"""A database and a Redis that fail now and then, as real ones do: seeded, to be repeated.

Each statement, and each commit, may fail in one of the ways that a client sees: not sent at all,
done but reported as timed out, refused as a deadlock's victim or for a lock, or the connection
lost. What a fault leaves is what PostgreSQL leaves: the transaction undone, or, for a commit that
was done and not reported, kept. A command for Redis is not sent, or done and reported as timed out,
or its connection is lost.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import redis
from django.db import InterfaceError, OperationalError, connection
from psycopg import errors

T = TypeVar("T")

_TRIES = 200


class NotReported(OperationalError):
    """A commit was done, and its caller heard that the connection is lost"""


@dataclass(slots=True)
class Faults:
    """Which statement and commit fails; `rate` is the share of them that does."""

    seed: int | str
    rate: float
    made: Counter[str] = field(default_factory=Counter)
    _dice: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)

    @contextmanager
    def installed(self, *, is_repeated: bool = True) -> Iterator[None]:
        """Inside of the block, this thread's connection has the faults.

        Only a call that is repeated may be done and not reported as such.
        """
        database: Any = connection  # the hook below is its own
        commit = database._commit
        database._commit = lambda: self._on_commit(commit, is_repeated)
        try:
            with connection.execute_wrapper(self._on_statement):
                yield
        finally:
            database._commit = commit

    def _on_statement(
        self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any
    ) -> Any:
        if not self._falls():
            return execute(sql, params, many, context)
        kind = self._dice.choice(
            ["timeout before", "timeout after", "serialization", "lock timeout", "disconnect"]
        )
        self.made[kind] += 1
        if kind == "timeout after":
            execute(sql, params, many, context)
        if kind == "disconnect":
            connection.connection.close()
        raise _error(kind)

    def _on_commit(self, commit: Callable[[], None], is_repeated: bool) -> None:
        if not self._falls():
            commit()
            return
        kind = self._dice.choice(["commit not sent", "commit not reported"][: 1 + is_repeated])
        self.made[kind] += 1
        if kind == "commit not reported":
            commit()
            connection.connection.close()
            raise NotReported(f"injected: {kind}")
        connection.connection.close()
        raise _error(kind)

    def _falls(self) -> bool:
        return self._dice.random() < self.rate


@dataclass(slots=True)
class RedisFaults:
    """Which command for Redis fails; `rate` is the share of them that does."""

    seed: int | str
    rate: float
    made: Counter[str] = field(default_factory=Counter)
    _dice: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Inside of the block, every synchronous client of Redis in this process has the faults."""
        client_class: Any = redis.Redis
        execute = client_class.execute_command

        def failing(client: redis.Redis, *args: Any, **options: Any) -> Any:
            if self._dice.random() >= self.rate:
                return execute(client, *args, **options)
            return self._fail(lambda: execute(client, *args, **options), client)

        client_class.execute_command = failing
        try:
            yield
        finally:
            client_class.execute_command = execute

    def _fail(self, call: Callable[[], Any], client: redis.Redis) -> Any:
        kind = self._dice.choice(["timeout before", "timeout after", "disconnect"])
        self.made[kind] += 1
        if kind == "timeout after":
            call()
        if kind == "disconnect":
            client.connection_pool.disconnect()
            raise redis.ConnectionError(f"injected: {kind}")
        raise redis.TimeoutError(f"injected: {kind}")


def _error(kind: str) -> OperationalError:
    causes = {
        "serialization": errors.SerializationFailure("could not serialize access"),
        "lock timeout": errors.LockNotAvailable("canceling statement due to lock timeout"),
    }
    error = OperationalError(f"injected: {kind}")
    error.__cause__ = causes.get(kind) or errors.OperationalError(kind)
    return error


def persist(call: Callable[[], T]) -> T:
    """Do it again until it was reported as done, as every caller of the engine does."""
    for _ in range(_TRIES):
        try:
            return call()
        except (OperationalError, InterfaceError):
            if connection.connection is not None and connection.connection.closed:
                connection.close()
    raise AssertionError(f"it failed {_TRIES} times")
