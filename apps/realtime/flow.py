"""Waiting for a client that reads more slowly than it is told.

ASGI has no word for this: Daphne takes whatever is sent, and keeps it in memory until the client
reads. Below it, Twisted tells a registered producer when that is enough. Under another server
nothing is registered, and its own `send` is what waits.
"""

from __future__ import annotations

import asyncio
from typing import Any, Self

_STALLED_SECONDS = 60.0


class Stalled(Exception):
    """The client has read nothing for a minute"""


class Flow:
    """Open while the client keeps up; what Twisted calls a push producer."""

    def __init__(self, send: Any) -> None:
        found = getattr(send, "args", ())  # Daphne hands out a partial over its request
        request = found[0] if found else None
        self._request = request if hasattr(request, "registerProducer") else None
        self._open = asyncio.Event()
        self._open.set()

    def __enter__(self) -> Self:
        if self._request is not None:
            self._request.registerProducer(self, True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._request is not None and self._request.channel is not None:
            self._request.unregisterProducer()

    async def room(self) -> None:
        """Wait until the client has read what it was sent; raises Stalled."""
        try:
            async with asyncio.timeout(_STALLED_SECONDS):
                await self._open.wait()
        except TimeoutError:
            raise Stalled from None

    def pauseProducing(self) -> None:
        self._open.clear()

    def resumeProducing(self) -> None:
        self._open.set()

    def stopProducing(self) -> None:
        self._open.set()
