"""A TCP proxy between workers and the server that can go deaf in one direction."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Literal

Direction = Literal["to_server", "to_worker"]
_CHUNK = 65536


class Proxy:
    """Listens on a free loopback port and forwards to `port`, on a thread of its own."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._loop = asyncio.new_event_loop()
        self._open = {"to_server": asyncio.Event(), "to_worker": asyncio.Event()}
        self._ready = threading.Event()
        self._connections: set[asyncio.StreamWriter] = set()
        self.port = 0
        threading.Thread(target=self._run, name="proxy", daemon=True).start()
        self._ready.wait()

    def cut(self, direction: Direction) -> None:
        """Hold back what goes that way; the connections stay open, as behind a bad router."""
        self._loop.call_soon_threadsafe(self._open[direction].clear)

    def heal(self) -> None:
        """Let all flow, what was held back first."""
        for gate in self._open.values():
            self._loop.call_soon_threadsafe(gate.set)

    def reset(self) -> None:
        """Break every connection."""
        self._loop.call_soon_threadsafe(self._abort)

    def _abort(self) -> None:
        for writer in self._connections:
            writer.transport.abort()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._listen())
        self._loop.run_forever()

    async def _listen(self) -> None:
        for gate in self._open.values():
            gate.set()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, far_writer}
        self._connections |= ends
        await asyncio.gather(
            self._pump(reader, far_writer, "to_server"),
            self._pump(far_reader, writer, "to_worker"),
        )
        self._connections -= ends

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, direction: Direction
    ) -> None:
        with contextlib.suppress(OSError):
            while chunk := await source.read(_CHUNK):
                await self._open[direction].wait()
                sink.write(chunk)
                await sink.drain()
        with contextlib.suppress(OSError, RuntimeError):
            sink.close()
