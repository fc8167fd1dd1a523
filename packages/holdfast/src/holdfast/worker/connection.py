"""The worker's connection to the coordinator: kept up for ever, written in batches.

Contact counts from the sending of the latest beat that the server has answered; it is what the
worker knows of its leases.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import random
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import websockets
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from holdfast import protocol
from holdfast.protocol import Beat, Hello, Message, MetadataChanged, Refused, Welcome

_log = logging.getLogger("holdfast.worker")

PATH = "/coordinator/v1"
_HAS_MSGPACK = importlib.util.find_spec("msgpack") is not None
_COMPANY_SECONDS = 0.005
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0
_OPEN_SECONDS = 10.0
_FRAME_BYTES = 1024 * 1024
_MAX_FRAME = 256 * 1024 * 1024
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


class ConnectionRefused(Exception):
    """The coordinator does not want this worker, and will not want it later either.

    Attributes:
        code: ``protocol``, ``version``, ``unauthorized`` or ``invalid``.
    """

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Handlers:
    """What the connection calls.

    Attributes:
        hello: Makes the first message of a connection.
        welcomed: Takes the answer; what it sends goes out next.
        received: Takes every further message.
        lost: Told that the connection broke.
        thawed: Told that a silence is over, before the next hello.
        beat: Makes the next beat.
    """

    hello: Callable[[], Hello]
    welcomed: Callable[[Welcome], None]
    received: Callable[[Message], None]
    lost: Callable[[str], None]
    thawed: Callable[[], None]
    beat: Callable[[], Beat]


class Connection:
    """One worker's connection, over any number of WebSockets.

    Args:
        api_url: The server's address, ``http://`` or ``https://``.
        secret_key: The environment's secret key.
        handlers: What to call.
    """

    def __init__(self, *, api_url: str, secret_key: str, handlers: Handlers) -> None:
        self._url = api_url.rstrip("/").replace("http", "ws", 1) + PATH
        self._key = secret_key
        self._handlers = handlers
        self._outbox: list[Message] = []
        self._has_mail = asyncio.Event()
        self._socket: ClientConnection | None = None
        self._posting: asyncio.TimerHandle | None = None
        self._contact = 0.0
        self._closing = False
        self._silence: Coroutine[Any, Any, None] | None = None
        self._hanging_up: asyncio.Task[None] | None = None
        self.is_silent = False

    @property
    def is_up(self) -> bool:
        """Whether the server has welcomed this connection."""
        return self._socket is not None

    @property
    def contact(self) -> float:
        """When, in monotonic seconds, the latest beat was sent that is known to have arrived."""
        return self._contact

    def send(self, message: Message, *, is_urgent: bool = True) -> None:
        """Send soon, with whatever else is sent soon; dropped while there is no connection.

        Changes of metadata are kept, as nobody else remembers them.

        Args:
            message: What to send.
            is_urgent: Otherwise it waits a moment for company, such as the end of a short run.
        """
        if self._socket is None and not isinstance(message, MetadataChanged):
            return
        self._outbox.append(message)
        if is_urgent:
            self._has_mail.set()
        elif self._posting is None:
            loop = asyncio.get_running_loop()
            self._posting = loop.call_later(_COMPANY_SECONDS, self._post)

    def _post(self) -> None:
        self._posting = None
        if self._outbox:
            self._has_mail.set()

    def be_silent(self, until: Coroutine[Any, Any, None]) -> None:
        """Close the connection, and open the next one when `until` is over."""
        self._silence, self.is_silent = until, True
        if self._socket is not None:
            loop = asyncio.get_running_loop()
            self._hanging_up = loop.create_task(self._socket.close())

    async def run(self) -> None:
        """Keep connected until `close`.

        Raises:
            ConnectionRefused: The server refused this worker for good.
        """
        pause = _FIRST_PAUSE
        while not self._closing:
            began = time.monotonic()
            try:
                await self._connected()
                reason = "closed by the server"
            except (OSError, websockets.WebSocketException, TimeoutError) as error:
                self._refuse_if_unauthorized(error)
                reason = str(error) or type(error).__name__
            except protocol.ProtocolError as error:
                reason = str(error)
            if self._closing:
                return
            if self._silence is not None:
                await self._keep_silence(self._silence)
                continue
            self._handlers.lost(reason)
            pause = _FIRST_PAUSE if time.monotonic() - began > _LONGEST_PAUSE else pause
            await asyncio.sleep(random.uniform(0.5, 1.0) * pause)  # noqa: S311 - not a secret
            pause = min(_LONGEST_PAUSE, pause * 2)

    async def _keep_silence(self, silence: Coroutine[Any, Any, None]) -> None:
        self._handlers.lost("frozen")
        await silence
        self._silence, self.is_silent = None, False
        self._contact = time.monotonic()  # what is held does nothing: it may ask for a lease long
        self._handlers.thawed()

    async def close(self) -> None:
        """Send what is waiting, then close for good."""
        self._closing = True
        socket = self._socket
        if socket is not None:
            with contextlib.suppress(OSError, websockets.WebSocketException):
                await self._write_outbox(socket)
                await socket.close()

    async def _connected(self) -> None:
        """One WebSocket, from its opening to its end."""
        offered = [protocol.SUBPROTOCOL_MSGPACK] if _HAS_MSGPACK else []
        async with connect(
            self._url,
            additional_headers={"Authorization": f"Bearer {self._key}"},
            subprotocols=[Subprotocol(s) for s in (*offered, protocol.SUBPROTOCOL_JSON)],
            compression=None,
            max_size=_MAX_FRAME,
            open_timeout=_OPEN_SECONDS,
            ping_interval=None,
            proxy=None if urlsplit(self._url).hostname in _LOOPBACK else True,
        ) as socket:
            welcome = await self._greet(socket)
            self._socket = socket
            try:
                self._handlers.welcomed(welcome)
                await self._serve(socket, welcome)
            finally:
                self._socket = None
                self._outbox = [m for m in self._outbox if isinstance(m, MetadataChanged)]

    async def _greet(self, socket: ClientConnection) -> Welcome:
        sent = time.monotonic()
        await socket.send(self._encode(socket, [self._handlers.hello()]))
        async with asyncio.timeout(_OPEN_SECONDS):
            messages = protocol.decode(await socket.recv(), protocol.TO_WORKER)
        first, *rest = messages
        if isinstance(first, Refused):
            raise ConnectionRefused(first.code, first.message)
        if not isinstance(first, Welcome):
            raise protocol.ProtocolError(f"expected a welcome, got {first.type!r}")
        self._contact = sent
        for message in rest:
            asyncio.get_running_loop().call_soon(self._handlers.received, message)
        return first

    async def _serve(self, socket: ClientConnection, welcome: Welcome) -> None:
        """Read, write and beat until one of the three ends."""
        loop = asyncio.get_running_loop()
        tasks = [
            loop.create_task(self._read(socket)),
            loop.create_task(self._write(socket)),
            loop.create_task(self._beat(socket, welcome)),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, socket: ClientConnection) -> None:
        received = self._handlers.received
        async for frame in socket:
            for message in protocol.decode(frame, protocol.TO_WORKER):
                if isinstance(message, Refused):
                    raise ConnectionRefused(message.code, message.message)
                received(message)

    async def _write(self, socket: ClientConnection) -> None:
        while True:
            await self._has_mail.wait()
            await self._write_outbox(socket)

    async def _write_outbox(self, socket: ClientConnection) -> None:
        messages, self._outbox = self._outbox, []
        self._has_mail.clear()
        for chunk in _chunks(messages):
            await socket.send(self._encode(socket, chunk))

    async def _beat(self, socket: ClientConnection, welcome: Welcome) -> None:
        """Beat, and see by a ping that it arrived; silence for a lease closes the connection."""
        while True:
            await asyncio.sleep(welcome.beat_seconds)
            sent = time.monotonic()
            await socket.send(self._encode(socket, [self._handlers.beat()]))
            async with asyncio.timeout(max(welcome.beat_seconds, welcome.lease_seconds / 2)):
                await (await socket.ping())
            self._contact = sent

    def _encode(self, socket: ClientConnection, messages: list[Message]) -> str | bytes:
        binary = socket.subprotocol == protocol.SUBPROTOCOL_MSGPACK
        return protocol.encode(messages, binary=binary)

    def _refuse_if_unauthorized(self, error: Exception) -> None:
        response: Any = getattr(error, "response", None)
        status = getattr(response, "status_code", None)
        if status in (401, 403):
            raise ConnectionRefused(
                "unauthorized", f"the server does not accept HOLDFAST_SECRET_KEY ({status})"
            ) from None


def _chunks(messages: list[Message]) -> list[list[Message]]:
    """Messages in frames of a moderate size."""
    chunks: list[list[Message]] = []
    room = 0
    for message in messages:
        length = len(getattr(message, "output", None) or "")
        if not chunks or length > room:
            chunks.append([])
            room = _FRAME_BYTES
        chunks[-1].append(message)
        room -= length
    return chunks
