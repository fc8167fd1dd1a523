"""The same over a WebSocket, for clients that can hold only a few HTTP connections."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from apps.core.errors import DomainError, Forbidden
from apps.realtime import messages
from apps.realtime.conversation import Asked, begin, conversation
from apps.realtime.hub import Subscriber, hub
from apps.realtime.requests import TOKEN_PROTOCOL, asked_by, is_of_this_site
from apps.realtime.streams import Receive, Send

PROTOCOL = "holdfast.realtime.v1"
_UNAUTHORIZED, _GOING_AWAY = 4401, 1001


async def socket(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """`/realtime/v1/events`, as a WebSocket."""
    await receive()  # the wish to connect
    try:
        asked = asked_by(scope)
        if asked.credentials.is_cookie and not is_of_this_site(scope):
            raise Forbidden
        subscriber = await begin(asked)
    except DomainError:
        await send({"type": "websocket.close", "code": _UNAUTHORIZED})
        return
    try:
        await send({"type": "websocket.accept", "subprotocol": _subprotocol(scope)})
        await _serve(subscriber, asked, receive, send)
    finally:
        hub().leave(subscriber)


async def _serve(subscriber: Subscriber, asked: Asked, receive: Receive, send: Send) -> None:
    speaker = asyncio.ensure_future(_speak(subscriber, asked, send))
    listener = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({speaker, listener}, return_when=asyncio.FIRST_COMPLETED)
        if speaker.done():
            speaker.result()
            await send({"type": "websocket.close", "code": _UNAUTHORIZED})
    except asyncio.CancelledError:
        await send({"type": "websocket.send", "text": messages.end("shutdown").as_frame})
        await send({"type": "websocket.close", "code": _GOING_AWAY})
        raise
    finally:
        for task in (speaker, listener):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task


async def _speak(subscriber: Subscriber, asked: Asked, send: Send) -> None:
    async for message in conversation(subscriber, asked):
        await send({"type": "websocket.send", "text": message.as_frame})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "websocket.disconnect":
        pass  # nothing that a client says means anything


def _subprotocol(scope: dict[str, Any]) -> str | None:
    """A browser that offers protocols wants one of them back; never the one with the token."""
    offered = [p for p in scope.get("subprotocols") or () if not p.startswith(TOKEN_PROTOCOL)]
    return PROTOCOL if PROTOCOL in offered else None
