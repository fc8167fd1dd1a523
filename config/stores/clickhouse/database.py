"""The embedded ClickHouse: one data folder, and a connection of its own for each request.

Found by measuring: connections are cheap (0.2 ms), keep their settings to themselves, and run
side by side on all cores without Python's lock, so requests need no queue of ours.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chdb import _chdb

from config.stores.clickhouse import statement
from config.stores.clickhouse.errors import SYNTAX_ERROR, QueryError, query_error
from config.stores.clickhouse.statement import Insert

_engine: Any = _chdb  # its type stubs leave out all that is used here
# It looks at its memory twenty times a second else, for ever.
_SETTINGS = "memory_worker_period_ms=500"
_RESULTS, _UNPARSABLE = 0, 4  # classes of statements


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a statement read and wrote."""

    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    result_bytes: int = 0
    elapsed_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The answer to a statement: the first piece, and the pieces still being computed."""

    first: bytes
    rest: Iterator[bytes]
    format: str | None  # None when the statement has no result
    summary: Summary


class Database:
    """The engine over one data folder; the process can open no second one."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        # This connection keeps the engine and its background merges alive.
        self._anchor = _engine.connect(f"{self._folder}?{_SETTINGS}")
        self.version = self._anchor.query("SELECT version()", "TSV").bytes().decode().strip()

    def create(self, names: Iterable[str]) -> None:
        """Make these databases where they are missing."""
        for name in names:
            self._anchor.query(f"CREATE DATABASE IF NOT EXISTS {statement.quote_name(name)}", "TSV")

    def close(self) -> None:
        self._anchor.close()

    @contextmanager
    def session(self, database: str, settings: Mapping[str, str]) -> Iterator[Session]:
        """A connection with these settings, closed at the end."""
        with _as_query_errors():
            connection = _engine.connect(self._folder)
        session = Session(connection)
        try:
            session.prepare(database, settings)
            yield session
        finally:
            session.close()


class Session:
    """One request's connection."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._running: Any = None  # a result that is being sent while it is computed

    def close(self) -> None:
        """Stop what still runs, then close: the other way round, the engine crashes."""
        if self._running is not None:
            self._connection.streaming_cancel_query(self._running)
            self._running = None
        self._connection.close()

    def prepare(self, database: str, settings: Mapping[str, str]) -> None:
        """Choose the database and the settings of what follows."""
        if database:
            self._run(f"USE {statement.quote_name(database)}", "TSV", {})
        if settings:
            pairs = (f"{name} = {statement.quote(value)}" for name, value in settings.items())
            self._run(f"SET {', '.join(pairs)}", "TSV", {})

    def execute(self, text: str, default_format: str, parameters: Mapping[str, str]) -> Result:
        """Run one statement; a large SELECT in a simple format comes in pieces."""
        begun = time.monotonic_ns()
        facts = self._connection.classify_query(text)
        if facts["statement_count"] > 1:
            raise query_error(SYNTAX_ERROR, "SYNTAX_ERROR", "Multi-statements are not allowed.")
        has_result = int(facts["query_class"]) in {_RESULTS, _UNPARSABLE}
        wanted = statement.output_format(text, default_format)
        if wanted in statement.STREAMABLE and has_result and statement.is_select(text):
            return self._stream(text, default_format, parameters, begun)
        done = self._run(text, default_format, parameters)
        body = done.bytes()
        return Result(
            first=body,
            rest=iter(()),
            format=wanted if has_result else None,
            summary=_summary(done, len(body), begun),
        )

    def insert(self, insert: Insert, data: Iterable[bytes]) -> Summary:
        """Write rows as they arrive; all of them, or none."""
        begun = time.monotonic_ns()
        with _as_query_errors():
            writing = self._connection.send_insert(insert.head, insert.format)
            try:
                for chunk in _chain(insert.data, iter(data)):
                    self._connection.insert_append(writing, chunk)
            except BaseException:
                self._connection.insert_cancel(writing)
                raise
            return _summary(self._connection.insert_done(writing), 0, begun)

    def _run(self, text: str, format_name: str, parameters: Mapping[str, str]) -> Any:
        with _as_query_errors():
            done = self._connection.query(text, format_name, params=dict(parameters))
            if done.has_error():
                raise QueryError(done.error_message())
            return done

    def _stream(
        self, text: str, default_format: str, parameters: Mapping[str, str], begun: int
    ) -> Result:
        with _as_query_errors():
            self._running = self._connection.send_query(
                text, default_format, params=dict(parameters)
            )
        pieces = self._pieces()
        first = next(pieces, b"")
        second = next(pieces, b"") if first else b""
        return Result(
            first=first,
            rest=_chain(second, pieces) if second else iter(()),
            format=statement.output_format(text, default_format),
            summary=Summary(
                result_bytes=len(first) + len(second), elapsed_ns=time.monotonic_ns() - begun
            ),
        )

    def _pieces(self) -> Iterator[bytes]:
        while self._running is not None:
            with _as_query_errors():
                piece = self._connection.streaming_fetch_result(self._running)
                if piece.has_error():
                    raise QueryError(piece.error_message())
                body = piece.bytes()
            if not body:
                self._running = None
                return
            yield body


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if first:
        yield first
    yield from rest


def _summary(done: Any, size: int, begun: int) -> Summary:
    return Summary(
        read_rows=done.rows_read(),
        read_bytes=done.bytes_read(),
        written_rows=done.rows_written(),
        written_bytes=done.bytes_written(),
        result_bytes=size,
        elapsed_ns=time.monotonic_ns() - begun,
    )


@contextmanager
def _as_query_errors() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise QueryError(str(error)) from error
