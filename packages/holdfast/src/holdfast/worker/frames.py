"""Messages between the worker's own processes: a length and a JSON map, over a socket pair.

JSON and not pickle, because the other side runs the customer's code. pydantic's own reader and
writer take a third of the time; what they refuse, such as half a surrogate pair in a log line, is
left to the standard library's.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import struct
from collections.abc import Callable
from typing import Any

from pydantic_core import PydanticSerializationError, from_json, to_json

Frame = dict[str, Any]

_LENGTH = struct.Struct("!I")
_HEADER = _LENGTH.size
_CHUNK = 65_536


def pack(message: Frame) -> bytes:
    """One message as bytes."""
    return framed(pack_body(message))


def framed(body: bytes) -> bytes:
    """What is packed already, with its length before it."""
    return _LENGTH.pack(len(body)) + body


def pack_body(message: Frame) -> bytes:
    """One message as bytes, for where each is received whole."""
    try:
        return to_json(message)
    except PydanticSerializationError:
        return json.dumps(message, separators=(",", ":")).encode()


def unpack_body(body: bytes | bytearray) -> Frame:
    """The message that these bytes are."""
    try:
        message: Frame = from_json(body)
    except ValueError:
        message = json.loads(body)
    return message


class Unpacker:
    """Cuts a stream of bytes into messages."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Take bytes and return the messages that are complete now."""
        buffer = self._buffer
        buffer += data
        messages, start = [], 0
        while len(buffer) - start >= _HEADER:
            (length,) = _LENGTH.unpack_from(buffer, start)
            end = start + _HEADER + length
            if len(buffer) < end:
                break
            messages.append(unpack_body(buffer[start + _HEADER : end]))
            start = end
        if start:
            del buffer[:start]
        return messages


class FrameProtocol(asyncio.Protocol):
    """An asyncio protocol that speaks frames.

    Args:
        on_message: Called with each message.
        on_lost: Called once when the other side is gone.
    """

    def __init__(self, on_message: Callable[[Frame], None], on_lost: Callable[[], None]) -> None:
        self._on_message = on_message
        self._on_lost = on_lost
        self._unpacker = Unpacker()
        self._transport: asyncio.Transport | None = None
        self._has_written = asyncio.Event()
        self._has_written.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - narrows the type
        self._transport = transport
        transport.set_write_buffer_limits(high=0)

    def data_received(self, data: bytes) -> None:
        """Hand over what is complete."""
        for message in self._unpacker.feed(data):
            self._on_message(message)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell that the other side is gone."""
        transport, self._transport = self._transport, None
        self._has_written.set()
        if exc is not None and transport is not None:
            self._hear_out(transport)
        self._on_lost()

    def _hear_out(self, transport: asyncio.Transport) -> None:
        """Read what the other side said before it ended, when it was a write that told."""
        descriptor = transport.get_extra_info("socket").fileno()
        with contextlib.suppress(OSError):
            while data := os.read(descriptor, _CHUNK):
                self.data_received(data)

    def pause_writing(self) -> None:
        """The other side reads too slowly."""
        self._has_written.clear()

    def resume_writing(self) -> None:
        """All that was sent is written."""
        self._has_written.set()

    async def drain(self) -> None:
        """Wait until all that was sent is written, or the other side is gone."""
        if not self._has_written.is_set():
            await self._has_written.wait()

    def send(self, message: Frame) -> None:
        """Send a message, or drop it when the other side is gone."""
        self.send_body(pack_body(message))

    def send_body(self, body: bytes) -> None:
        """Send what is packed already."""
        if self._transport is not None:
            self._transport.write(framed(body))

    @property
    def backlog_bytes(self) -> int:
        """How much is still to be written."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()
