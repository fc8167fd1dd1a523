"""A coordinator and an API in this process: the worker's counterpart in its own tests.

It keeps no rules of the engine's; a test scripts what it answers and reads what it was told.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import Callable
from typing import Any, Self

from websockets import ConnectionClosed
from websockets.asyncio.server import ServerConnection, serve

from holdfast import packets, protocol
from holdfast.protocol import (
    Capacity,
    Completed,
    Execute,
    Failed,
    Hello,
    Message,
    Resume,
    Settled,
    Suspended,
    WaitpointResult,
    Welcome,
)

WAIT_SECONDS = 60.0


class FakeCoordinator:
    """Listens on a free port of this machine, for WebSockets and for the API alike."""

    def __init__(self, *, beat_seconds: float = 0.2, lease_seconds: float = 10.0) -> None:
        self.beat_seconds = beat_seconds
        self.lease_seconds = lease_seconds
        self.received: list[Message] = []
        self.requests: list[tuple[str, str, Any]] = []
        self.api: Callable[[str, str, Any], Any] = self._child
        self.settles = True
        self.repeats_itself = False
        self.variables: dict[str, str] = {}
        self.lost: list[str] = []
        self.refusal: protocol.Refused | None = None
        self.connection: ServerConnection | None = None
        self.slots = 0
        self._news = asyncio.Condition()
        self._ids = itertools.count(1)
        self._children: dict[str, tuple[str, str]] = {}

    async def __aenter__(self) -> Self:
        self._stack = contextlib.AsyncExitStack()
        inner = await self._stack.enter_async_context(
            serve(self._talk, "127.0.0.1", 0, subprotocols=self._subprotocols(), max_size=None)
        )
        self._inner_port = next(iter(inner.sockets)).getsockname()[1]
        self._front = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._front.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._front.close()
        await self._stack.aclose()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    # -- what a test does ----------------------------------------------------------------------

    async def execute(self, task: str, payload: Any = None, **fields: Any) -> str:
        """Order a run; returns its id."""
        run = f"run_{next(self._ids)}"
        packet = packets.encode(payload)
        defaults: dict[str, Any] = {
            "run": run,
            "generation": 1,
            "attempt": 1,
            "max_attempts": 3,
            "task": task,
            "payload": packet.data,
            "payload_type": packet.data_type,
            "context": {"run": {"id": run}, "task": {"id": task}},
        }
        await self.send(Execute(**{**defaults, **fields}))
        return run

    async def send(self, *messages: Message) -> None:
        assert self.connection is not None
        await self.connection.send(protocol.encode(messages))

    async def wait_for(self, condition: Callable[[], Any]) -> Any:
        """Wait until a condition about what was received holds; returns its value."""
        async with asyncio.timeout(WAIT_SECONDS), self._news:
            await self._news.wait_for(condition)
        return condition()

    async def result(self, run: str, *, count: int = 1) -> Completed | Failed:
        """The `count`-th result that was reported for a run."""

        def reported() -> list[Message]:
            return [m for m in self.received if isinstance(m, Completed | Failed) and m.run == run]

        await self.wait_for(lambda: len(reported()) >= count)
        return reported()[count - 1]

    def told(self, kind: type[Message], run: str | None = None) -> list[Any]:
        """The messages of one kind so far."""
        return [
            m
            for m in self.received
            if isinstance(m, kind) and (run is None or getattr(m, "run", None) == run)
        ]

    async def ready(self) -> None:
        """Wait until the worker takes runs."""
        await self.wait_for(lambda: self.slots > 0)

    async def cut(self) -> None:
        """Break the connection."""
        assert self.connection is not None
        self.connection.transport.abort()
        await self.wait_for(lambda: self.connection is None)

    async def finish_children(self, waits: Suspended) -> None:
        """Have what a run waits for complete."""
        assert self.connection is not None
        await self._finish_children(self.connection, waits)

    # -- the socket ----------------------------------------------------------------------------

    def _subprotocols(self) -> list[Any]:
        return [protocol.SUBPROTOCOL_JSON]

    async def _talk(self, socket: ServerConnection) -> None:
        try:
            async for frame in socket:
                for message in protocol.decode(frame, protocol.TO_COORDINATOR):
                    await self._hear(socket, message)
        except ConnectionClosed:
            pass
        finally:
            if self.connection is socket:
                self.connection = None
            async with self._news:
                self._news.notify_all()

    async def _hear(self, socket: ServerConnection, message: Message) -> None:
        self.received.append(message)
        if isinstance(message, Hello):
            await self._greet(socket, message)
        if isinstance(message, Capacity):
            self.slots = message.slots
        if self.settles and isinstance(message, Completed | Failed):
            await self._settle(socket, message)
        if self.settles and isinstance(message, Suspended):
            await self._say(socket, self._settled(message, "waiting"))
            await self._finish_children(socket, message)
        async with self._news:
            self._news.notify_all()

    async def _greet(self, socket: ServerConnection, hello: Hello) -> None:
        if self.refusal is not None:
            await self._say(socket, self.refusal)
            return
        self.slots = hello.capacity
        await self._say(
            socket,
            Welcome(
                server="fake",
                beat_seconds=self.beat_seconds,
                lease_seconds=self.lease_seconds,
                environment={},
                variables=self.variables,
                lost=self.lost,
            ),
        )
        self.connection = socket

    async def _settle(self, socket: ServerConnection, message: Completed | Failed) -> None:
        if isinstance(message, Failed) and message.retry_delay_ms is not None:
            again = self._settled(message, "retry_here", attempt=message.attempt + 1, delay_ms=1)
            await self._say(socket, again)
            if self.repeats_itself:
                await self._say(socket, again)
        else:
            await self._say(socket, self._settled(message, "final"))

    def _settled(self, message: Any, outcome: Any, **fields: Any) -> Settled:
        return Settled(run=message.run, generation=message.generation, outcome=outcome, **fields)

    async def _finish_children(self, socket: ServerConnection, message: Suspended) -> None:
        """Children complete at once: each returns its payload."""
        results = [
            WaitpointResult(
                id=w, ok=True, output=self._children[w][0], output_type=self._children[w][1]
            )
            for w in message.waitpoints
            if w in self._children
        ]
        if results:
            await self._say(
                socket,
                Resume(
                    run=message.run,
                    generation=message.generation + 1,
                    previous=message.generation,
                    results=results,
                ),
            )

    async def _say(self, socket: ServerConnection, message: Message) -> None:
        await socket.send(protocol.encode([message]))

    # -- the API -------------------------------------------------------------------------------

    def _child(self, method: str, path: str, body: Any) -> Any:
        number = next(self._ids)
        options = body["options"]
        self._children[f"waitpoint_{number}"] = (body.get("payload"), options["payloadType"])
        return {"id": f"run_{number}", "waitpointId": f"waitpoint_{number}"}

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if b"upgrade: websocket" in head.lower():
                    await self._pass_on(head, reader, writer)
                    break
                await self._answer(head, reader, writer)
        writer.close()

    async def _pass_on(self, head: bytes, reader: Any, writer: Any) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._inner_port)
        inner_writer.write(head)
        there = asyncio.create_task(_pump(reader, inner_writer))
        await _pump(inner_reader, writer)
        await there

    async def _answer(self, head: bytes, reader: Any, writer: Any) -> None:
        line, *headers = head.decode().split("\r\n")
        method, path, _ = line.split(" ")
        fields = dict(h.lower().split(": ", 1) for h in headers if h)
        body = await reader.readexactly(int(fields.get("content-length", 0)))
        parsed = json.loads(body) if body and "json" in fields.get("content-type", "") else None
        self.requests.append((method, path, parsed))
        answer = {} if path.startswith("/otel/") else self.api(method, path, parsed)
        status = 200
        if isinstance(answer, tuple):
            status, answer = answer
        content = json.dumps(answer).encode()
        writer.write(
            f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n"
            f"content-length: {len(content)}\r\n\r\n".encode()
            + content
        )
        await writer.drain()
        async with self._news:
            self._news.notify_all()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()
