"""Server-Sent Events, as an ASGI application: a stream holds no thread of the web process."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from apps.core.errors import DomainError, Forbidden, LimitExceeded
from apps.realtime import messages
from apps.realtime.access import refusal
from apps.realtime.conversation import Asked, begin, conversation
from apps.realtime.flow import Flow, Stalled
from apps.realtime.hub import Subscriber, hub
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
    (b"access-control-expose-headers", b"retry-after"),
]
_RETRY = b"retry: 2000\n\n"


async def events(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """`GET /realtime/v1/events`."""
    try:
        asked = asked_by(scope)
        _check_site(scope, asked)
        subscriber = await begin(asked)
    except DomainError as error:
        await _refuse(send, error)
        return
    try:
        await _serve(subscriber, asked, receive, send)
    finally:
        hub().leave(subscriber)


async def _serve(subscriber: Subscriber, asked: Asked, receive: Receive, send: Send) -> None:
    headers = _HEADERS if asked.credentials.is_cookie else _HEADERS + _ANY_ORIGIN
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": _RETRY, "more_body": True})
    speaker = asyncio.ensure_future(_speak(subscriber, asked, send))
    listener = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({speaker, listener}, return_when=asyncio.FIRST_COMPLETED)
        if speaker.done():
            speaker.result()
    except asyncio.CancelledError:
        # the server is stopping: say so, and clients come back to another one, or to this again
        await _close(send, messages.end("shutdown").as_event)
        raise
    finally:
        for task in (speaker, listener):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task


async def _speak(subscriber: Subscriber, asked: Asked, send: Send) -> None:
    with Flow(send) as flow, suppress(Stalled):
        async for message in conversation(subscriber, asked):
            await flow.room()
            await send({"type": "http.response.body", "body": message.as_event, "more_body": True})
    await _close(send)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _close(send: Send, body: bytes = b"") -> None:
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _check_site(scope: dict[str, Any], asked: Asked) -> None:
    """Another site's page must not hold streams of a person who happens to be signed in."""
    if asked.credentials.is_cookie and header(scope, b"sec-fetch-site") == "cross-site":
        raise Forbidden("A page of another site sends no cookies here: use a public token")


async def _refuse(send: Send, error: DomainError) -> None:
    headers = [(b"content-type", b"application/json"), *_ANY_ORIGIN]
    if isinstance(error, LimitExceeded):
        seconds = math.ceil(float(error.detail["retry_after"]))
        headers.append((b"retry-after", str(seconds).encode()))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await _close(send, json.dumps(refusal(error)).encode())
