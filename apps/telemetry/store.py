"""ClickHouse over HTTP: the one place that knows its client, its errors and its schema."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import clickhouse_connect
import urllib3
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError, DataError
from clickhouse_connect.driver.exceptions import Error as ClientError
from django.conf import settings
from urllib3.exceptions import HTTPError

from apps.telemetry.errors import StoreDown, StoreRejected
from apps.telemetry.limits import limits
from apps.telemetry.rows import LogRow, Row, SpanRow

T = TypeVar("T")

SCHEMA = Path(__file__).resolve().parent / "schema"
TABLES: dict[str, type[Row]] = {"spans": SpanRow, "logs": LogRow}

_TROUBLE = (ClickHouseError, HTTPError, OSError)
_CONNECT_SECONDS = 3
_ANSWER_SECONDS = 10
_PING_SECONDS = 1
_OK = 200
_UNKNOWN_TABLE, _UNKNOWN_DATABASE = 60, 81
_TYPES = {
    "environment_id": "UUID",
    "run_id": "UUID",
    "attempt": "UInt16",
    "name": "LowCardinality(String)",
    "kind": "LowCardinality(String)",
    "level": "LowCardinality(String)",
    "status": "LowCardinality(String)",
    "instrumentation": "LowCardinality(String)",
    "attributes": "Map(LowCardinality(String), String)",
    "start": "DateTime64(9, 'UTC')",
    "time": "DateTime64(9, 'UTC')",
    "received_at": "DateTime64(3, 'UTC')",
    "duration_ns": "UInt64",
    "sequence": "UInt64",
    "is_final": "UInt8",
}


class Store:
    """One ClickHouse database, connected and migrated at its first use by any thread."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._is_migrated = False

    def insert(self, table: str, rows: Sequence[Row]) -> None:
        """Write rows; raises StoreDown when it may work later, StoreRejected when never."""
        client = self._up(self._ready)
        names = TABLES[table]._fields
        context = client.create_insert_context(
            table,
            column_names=names,
            column_type_names=[_TYPES.get(name, "String") for name in names],
            data=rows,
        )
        try:
            client.insert(context=context)
        except Exception as error:
            # Rows are encoded while they are sent: what was wrong with one of them may arrive
            # here as a connection that the server gave up.
            if context.insert_exception is not None or isinstance(error, DataError):
                raise StoreRejected(repr(context.insert_exception or error)) from error
            if isinstance(error, _TROUBLE):
                raise self._down(error) from error
            raise

    def rows(self, statement: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Run a statement and return its rows by column name; raises StoreDown."""
        result = self._up(lambda: self._ready().query(statement, parameters=dict(parameters)))
        return [dict(zip(result.column_names, row, strict=True)) for row in result.result_rows]

    def migrate(self) -> list[str]:
        """Bring the schema up to date and return what was applied; any number may do it at once."""
        return self._up(lambda: self._migrate(self._connected()))

    def command(self, statement: str) -> str:
        """Run a statement that answers one value, or none; raises StoreDown."""
        return str(self._up(lambda: self._connected().command(statement)))

    def ping(self) -> None:
        """Ask whether the server is there, within a second; raises StoreDown."""
        parts = urlsplit(self._url)
        address = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], "/ping", "", ""))
        try:
            answer = urllib3.request("GET", address, timeout=_PING_SECONDS, retries=False)
        except (HTTPError, OSError) as error:
            raise StoreDown(type(error).__name__) from error
        if answer.status != _OK:
            raise StoreDown(f"answered {answer.status}")

    def close(self) -> None:
        """Drop the connection; the next use makes a new one."""
        with self._lock:
            if self._client is not None:
                self._client.close()
            self._client, self._is_migrated = None, False

    def _ready(self) -> Client:
        client = self._connected()
        if not self._is_migrated:
            self._migrate(client)
        return client

    def _connected(self) -> Client:
        with self._lock:
            if self._client is None:
                self._client = _connect(self._url)
            return self._client

    def _migrate(self, client: Client) -> list[str]:
        # ClickHouse has no lock to take, so every statement must be harmless when repeated.
        client.command(
            "CREATE TABLE IF NOT EXISTS telemetry_migrations"
            " (name String, applied_at DateTime DEFAULT now())"
            " ENGINE = ReplacingMergeTree ORDER BY name"
        )
        done = {row[0] for row in client.query("SELECT name FROM telemetry_migrations").result_rows}
        applied = []
        for path in sorted(SCHEMA.glob("*.sql")):
            if path.stem in done:
                continue
            for statement in path.read_text().split(";\n"):
                if statement.strip():
                    client.command(statement)
            client.insert("telemetry_migrations", [(path.stem,)], column_names=["name"])
            applied.append(path.stem)
        self._set_retention(client)
        self._is_migrated = True
        return applied

    def _set_retention(self, client: Client) -> None:
        days = limits().retention_days
        for table in TABLES:
            definition = str(client.command(f"SHOW CREATE TABLE {table}"))
            if f"toIntervalDay({days})" not in definition:
                client.command(
                    f"ALTER TABLE {table} MODIFY TTL"
                    f" toDateTime(received_at) + toIntervalDay({days:d})",
                    settings={"materialize_ttl_after_modify": 0},
                )

    def _up(self, use: Callable[[], T]) -> T:
        try:
            return use()
        except _TROUBLE as error:
            raise self._down(error) from error

    def _down(self, error: Exception) -> StoreDown:
        if isinstance(error, ClientError) and error.code in {_UNKNOWN_TABLE, _UNKNOWN_DATABASE}:
            # Somebody emptied the server: the next use makes the tables again.
            self._is_migrated = False
        return StoreDown(str(error).partition("\n")[0] or type(error).__name__)


@cache
def store() -> Store:
    """The store of this process."""
    return Store(settings.CLICKHOUSE_URL)


def _connect(url: str) -> Client:
    try:
        return _client(url)
    except DatabaseError as error:
        if error.code != _UNKNOWN_DATABASE:
            raise
    parts = urlsplit(url)
    name = parts.path.strip("/")
    with _client(urlunsplit(parts._replace(path="/default"))) as client:
        client.command("CREATE DATABASE IF NOT EXISTS {name:Identifier}", parameters={"name": name})
    return _client(url)


def _client(url: str) -> Client:
    return clickhouse_connect.get_client(
        dsn=url,
        client_name="holdfast",
        connect_timeout=_CONNECT_SECONDS,
        send_receive_timeout=_ANSWER_SECONDS,
        query_retries=0,
        # Threads share the client; a session would let only one of them query at a time.
        autogenerate_session_id=False,
    )
