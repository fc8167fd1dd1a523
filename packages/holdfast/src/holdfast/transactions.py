"""Steps in the customer's own PostgreSQL: the effect and its record in one transaction.

The table ``holdfast_steps`` lies beside the customer's tables. A step first takes its row there,
so that of two processes which execute the same step, one waits for the other and then knows its
result; what the function writes is committed with the row, or not at all.
"""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from holdfast import packets
from holdfast.errors import HoldfastError
from holdfast.hooks import in_thread

if TYPE_CHECKING:
    from holdfast.journal import Call

VARIABLE = "HOLDFAST_STEPS_DATABASE_URL"

CREATE_TABLE = """
CREATE TABLE IF NOT EXISTS holdfast_steps (
    run_id text NOT NULL,
    position text NOT NULL,
    name text NOT NULL,
    digest text NOT NULL,
    output text,
    output_type text,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (run_id, position, name, digest)
)
"""
"""The table of the records; rows may be deleted when their runs have ended."""

_TAKE = """
INSERT INTO holdfast_steps (run_id, position, name, digest) VALUES (%s, %s, %s, %s)
ON CONFLICT DO NOTHING RETURNING true
"""
_READ = """
SELECT output, output_type FROM holdfast_steps
WHERE (run_id, position, name, digest) = (%s, %s, %s, %s)
"""
_KEEP = """
UPDATE holdfast_steps SET output = %s, output_type = %s
WHERE (run_id, position, name, digest) = (%s, %s, %s, %s)
"""


@dataclass(frozen=True, slots=True)
class Database:
    """Where steps with ``transaction=`` are committed.

    Attributes:
        source: The address of a PostgreSQL database, or something that gives psycopg connections:
            a `psycopg_pool` pool, or a function that returns one, or a context manager of one.
            Async functions want async connections, plain functions plain ones.
    """

    source: Any

    @classmethod
    def of(cls, given: Any) -> Database:
        """A database from what ``transaction=`` accepts.

        Raises:
            HoldfastError: It is True, and ``HOLDFAST_STEPS_DATABASE_URL`` is not set.
        """
        if isinstance(given, Database):
            return given
        if given is not True:
            return cls(given)
        address = os.environ.get(VARIABLE)
        if not address:
            raise HoldfastError(f"step(…, transaction=True) needs {VARIABLE}, or a database")
        return cls(address)

    def create_table(self) -> None:
        """Make the table ``holdfast_steps`` where it is missing; for plain programs."""
        with self.plain() as connection, connection.transaction():
            connection.execute(CREATE_TABLE)

    @contextmanager
    def plain(self) -> Iterator[Any]:
        """A plain connection."""
        source = self.source
        if isinstance(source, str):
            with _psycopg().connect(source) as connection:
                yield connection
            return
        opened = source.connection() if hasattr(source, "connection") else source()
        if not hasattr(opened, "__enter__"):
            raise HoldfastError(
                "a step of a plain function needs a plain connection, not an async one"
            )
        with opened as connection:
            yield connection

    @asynccontextmanager
    async def asynchronous(self) -> AsyncIterator[Any]:
        """An async connection."""
        source = self.source
        if isinstance(source, str):
            opened: Any = _psycopg().AsyncConnection.connect(source)
        else:
            opened = source.connection() if hasattr(source, "connection") else source()
        if inspect.isawaitable(opened) and not isinstance(opened, AbstractAsyncContextManager):
            opened = await opened
        if not hasattr(opened, "__aenter__"):
            raise HoldfastError(
                "a step of an async function needs an async connection, not a plain one"
            )
        async with opened as connection:
            yield connection


class Ledger:
    """Executes steps in transactions of a database.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def unrecorded(
        self, function: Callable[..., Any], *, is_async: bool
    ) -> Callable[[], Awaitable[Any]]:
        """The function in a transaction, for code that is not journaled."""
        return lambda: self._run(function, None, is_async)

    def recorded(
        self, function: Callable[..., Any], run_id: str, call: Call, *, is_async: bool
    ) -> Callable[[], Awaitable[Any]]:
        """The function and its record in one transaction; or what the record says."""
        key = (run_id, call.position, call.name, call.digest or "")
        return lambda: self._run(function, key, is_async)

    async def _run(
        self, function: Callable[..., Any], key: tuple[str, ...] | None, is_async: bool
    ) -> Any:
        if is_async:
            return await self._async(function, key)
        return await asyncio.shield(in_thread(lambda: self._plain(function, key)))

    async def _async(self, function: Callable[..., Any], key: tuple[str, ...] | None) -> Any:
        async with self._database.asynchronous() as connection, connection.transaction():
            if key is None:
                return await function(connection)
            taken = await (await connection.execute(_TAKE, key)).fetchone()
            if taken is None:
                return _known(await (await connection.execute(_READ, key)).fetchone())
            output = await function(connection)
            await connection.execute(_KEEP, (*packets.encode(output), *key))
            return output

    def _plain(self, function: Callable[..., Any], key: tuple[str, ...] | None) -> Any:
        with self._database.plain() as connection, connection.transaction():
            if key is None:
                return function(connection)
            if connection.execute(_TAKE, key).fetchone() is None:
                return _known(connection.execute(_READ, key).fetchone())
            output = function(connection)
            connection.execute(_KEEP, (*packets.encode(output), *key))
            return output


def _known(row: Any) -> Any:
    output, output_type = row
    return packets.decode(output, output_type or packets.JSON)


def _psycopg() -> Any:
    try:
        import psycopg
    except ImportError:
        raise HoldfastError("steps with transaction= need psycopg: pip install psycopg") from None
    return psycopg
