"""Server-Sent Events, as an ASGI application: a stream holds no thread of the web process."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from apps.core.errors import DomainError, Forbidden, LimitExceeded
from apps.realtime import messages
from apps.realtime.access import refusal
from apps.realtime.conversation import Asked, begin, conversation
from apps.realtime.flow import Flow, Stalled
from apps.realtime.hub import hub
from apps.realtime.requests import asked_by, header

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-store, no-transform"),
    (b"x-accel-buffering", b"no"),  # what nginx needs to be told
    (b"x-content-type-options", b"nosniff"),
]
_ANY_ORIGIN = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"retry-after, x-stream-version"),
]
_RETRY = b"retry: 2000\n\n"


async def events(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """`GET /realtime/v1/events`."""
    try:
        asked = asked_by(scope)
        check_site(scope, asked)
        subscriber = await begin(asked)
    except DomainError as error:
        await refuse(send, error)
        return
    told = (message.as_event async for message in conversation(subscriber, asked))
    # a server that stops says so, and clients come back to another one, or to this again
    goodbye = messages.end("shutdown").as_event
    try:
        await serve(told, receive, send, headers=headers_for(asked), goodbye=goodbye)
    finally:
        hub().leave(subscriber)


async def serve(
    told: AsyncIterator[bytes],
    receive: Receive,
    send: Send,
    *,
    headers: Sequence[tuple[bytes, bytes]],
    goodbye: bytes = b"",
) -> None:
    """Send events as they come, until there are no more or the client is gone."""
    await send({"type": "http.response.start", "status": 200, "headers": [*headers]})
    await send({"type": "http.response.body", "body": _RETRY, "more_body": True})
    speaker = asyncio.ensure_future(_speak(told, send))
    listener = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({speaker, listener}, return_when=asyncio.FIRST_COMPLETED)
        if speaker.done():
            speaker.result()
    except asyncio.CancelledError:
        await _close(send, goodbye)
        raise
    finally:
        for task in (speaker, listener):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task


async def _speak(told: AsyncIterator[bytes], send: Send) -> None:
    with Flow(send) as flow, suppress(Stalled):
        async for event in told:
            await flow.room()
            await send({"type": "http.response.body", "body": event, "more_body": True})
    await _close(send)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def headers_for(asked: Asked) -> list[tuple[bytes, bytes]]:
    """The headers of a stream: pages of any origin may read it, unless a cookie opened it."""
    return _HEADERS if asked.credentials.is_cookie else _HEADERS + _ANY_ORIGIN


async def _close(send: Send, body: bytes = b"") -> None:
    await send({"type": "http.response.body", "body": body, "more_body": False})


def check_site(scope: dict[str, Any], asked: Asked) -> None:
    """Another site's page must not hold streams of a person who happens to be signed in."""
    if asked.credentials.is_cookie and header(scope, b"sec-fetch-site") == "cross-site":
        raise Forbidden("A page of another site sends no cookies here: use a public token")


async def refuse(send: Send, error: DomainError) -> None:
    """Answer with an error as clients of the API know it."""
    headers = [(b"content-type", b"application/json"), *_ANY_ORIGIN]
    if isinstance(error, LimitExceeded):
        seconds = math.ceil(float(error.detail["retry_after"]))
        headers.append((b"retry-after", str(seconds).encode()))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await _close(send, json.dumps(refusal(error)).encode())
