"""Load that costs next to nothing itself: bare HTTP/1.1 over connections that stay open."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit
from uuid import UUID

from apps.core.ids import parse_public_id

_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = b"content-length:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Which task of which server is triggered, with which key, and what is said besides."""

    url: str
    secret_key: str
    task: str
    body: str = "{}"

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        return str(parts.hostname), int(parts.port or 80)

    def request(self) -> bytes:
        """One trigger as the SDK sends it, with a request key of its own."""
        return (
            f"POST /api/v1/tasks/{self.task}/trigger HTTP/1.1\r\n"
            f"host: {urlsplit(self.url).netloc}\r\n"
            f"authorization: Bearer {self.secret_key}\r\n"
            "content-type: application/json\r\n"
            "x-trigger-source: sdk\r\n"
            f"x-trigger-request-idempotency-key: {uuid.uuid4()}\r\n"
            f"content-length: {len(self.body)}\r\n\r\n{self.body}"
        ).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """A trigger: when it was due, by the wall clock, and the run that it started."""

    due_at: float
    run_id: UUID


class _Connection(asyncio.Protocol):
    """One caller, one call at a time."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._answer: asyncio.Future[UUID] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = bytes(self._buffer).partition(_END_OF_HEAD)
        if not found or len(rest) < _content_length(head):
            return
        self._buffer.clear()
        assert self._answer is not None
        if b" 200 " in head[:20]:
            self._answer.set_result(parse_public_id("run", json.loads(rest)["id"]))
        else:
            self._answer.set_exception(RuntimeError(f"refused: {head[:80]!r} {rest!r}"))

    async def call(self, request: bytes) -> UUID:
        """Send a request; the run that its answer names."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _content_length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(_LENGTH):
            return int(line.removeprefix(_LENGTH))
    return 0


async def closed_loop(target: Target, *, clients: int, count: int) -> float:
    """Seconds for `count` triggers by clients that each call again when they are answered."""
    connections = [await _connected(target) for _ in range(clients)]

    async def client(connection: _Connection) -> None:
        for _ in range(count // clients):
            await connection.call(target.request())

    began = time.perf_counter()
    await asyncio.gather(*map(client, connections))
    took = time.perf_counter() - began
    for connection in connections:
        connection.close()
    return took


async def open_loop(target: Target, *, rate: float, count: int) -> Sequence[Called]:
    """Trigger at fixed moments, whether or not earlier calls have been answered.

    Delays count from the moment that a call was due, so that a stall is not hidden by the calls
    that it holds up.
    """
    idle: list[_Connection] = []

    async def call(due_at: float) -> Called:
        connection = idle.pop() if idle else await _connected(target)
        run_id = await connection.call(target.request())
        idle.append(connection)
        return Called(due_at=due_at, run_id=run_id)

    began = time.time()
    calls = []
    for number in range(count):
        due_at = began + number / rate
        await asyncio.sleep(max(0.0, due_at - time.time()))
        calls.append(asyncio.ensure_future(call(due_at)))
    called = await asyncio.gather(*calls)
    for connection in idle:
        connection.close()
    return called


async def _connected(target: Target) -> _Connection:
    _, connection = await asyncio.get_running_loop().create_connection(_Connection, *target.address)
    return connection
