"""The short way for the most frequent request: a single trigger passes by Django's layers.

What it is answered is the same as from the view of that path, which stays for everything that is
not plain: a browser's call (it needs the headers of CORS), a large body, one of unknown length.
"""

from __future__ import annotations

import re
from asyncio import Future
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any

from apps.api.gathering import Gathering
from apps.api.parsers import parse_json
from apps.api.triggering import Call, Reply, answer_together

PATH = re.compile(r"/api/v1/tasks/(.+)/trigger")
_PLAIN_BYTES = 256 * 1024

Scope = dict[str, Any]
Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class TriggerRoute:
    """An ASGI application that answers plain triggers itself and passes on everything else."""

    def __init__(self, others: App) -> None:
        self._others = others
        self._gathering: Gathering[Call, Reply] = Gathering(answer_together, name="trigger")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = PATH.fullmatch(scope["path"]) if scope["method"] == "POST" else None
        headers = _headers(scope["headers"]) if found else {}
        if found is None or not is_plain(headers):
            await self._others(scope, receive, send)
            return
        content = await _content(receive)
        if content is None:
            return
        call = Call(task=found[1], headers=headers, body=partial(parse_json, content))
        await _send(await self.ask(call), send)

    def ask(self, call: Call) -> Future[Reply]:
        """The answer to a trigger, from the next group's commit."""
        return self._gathering.answer(call)


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name_bytes, value_bytes in raw:
        name, value = name_bytes.decode("latin-1"), value_bytes.decode("latin-1")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return headers


def is_plain(headers: Mapping[str, str]) -> bool:
    """Whether a request with these headers may be answered on the short way."""
    if "origin" in headers or "transfer-encoding" in headers:
        return False
    length = headers.get("content-length", "0")
    return length.isdecimal() and int(length) <= _PLAIN_BYTES


async def _content(receive: Receive) -> bytes | None:
    """The whole body; None when the client has gone before its end."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


async def _send(reply: Reply, send: Send) -> None:
    content = reply.content
    headers = response_headers(reply, content)
    await send(
        {
            "type": "http.response.start",
            "status": reply.status,
            "headers": [(k.encode(), v.encode("latin-1")) for k, v in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": content})


def response_headers(reply: Reply, content: bytes) -> dict[str, str]:
    """The headers of a reply, by name in lower case."""
    return {
        "content-type": "application/json",
        "content-length": str(len(content)),
        "x-content-type-options": "nosniff",
        **{name.lower(): value for name, value in reply.headers.items()},
    }
