"""A connection of daphne's that answers plain triggers itself, as soon as it has read them.

Between them, Twisted's request, Daphne's request and an ASGI application take as much of the
processor for a trigger as all of the rest. What is not a plain trigger in every respect, or is not
there as a whole, goes to them byte by byte as it came.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote, unquote

from twisted.internet.tcp import Connection
from twisted.python.failure import Failure
from twisted.web.http import RESPONSES, HTTPChannel

from apps.api import errors
from apps.api.parsers import parse_json
from apps.api.trigger_route import PATH, is_plain, response_headers
from apps.api.triggering import Call, Reply

_PLAIN = b"POST /api/v1/tasks/"
_REQUEST = re.compile(rb"POST (/api/v1/tasks/[!-\"$->@-~]+/trigger) HTTP/1\.1")
# no "_" in a name and nothing else that Twisted or Daphne would leave out, change or refuse
_HEADER = re.compile(rb"([!#$%&'*+.^`|~0-9A-Za-z-]+):[ \t]*([\t -~\x80-\xff]*)")
_LARGEST_HEAD = 16_384
# headers by which the server itself, and not only the application, does something
_NOT_PLAIN = {"expect", "upgrade", "te", "trailer", "daphne-root-path"}
_MOST_KEPT = 16_384

Ask = Callable[[Call], "asyncio.Future[Reply]"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Begun:
    """A trigger that is being answered."""

    path: str
    at: float


class TriggerChannel(HTTPChannel):  # type: ignore[misc]  # Twisted's are not typed
    """Daphne's connection; `ask` says who answers plain triggers.

    One request is answered after the other: what comes meanwhile waits.
    """

    def __init__(self, ask: Ask) -> None:
        super().__init__()
        self._ask = ask
        self._begun: _Begun | None = None
        self._kept: list[bytes] = []
        self._is_paused = self._is_lost = False
        self._writes_at_once = True  # while nobody else has written, so nothing can be left over

    def dataReceived(self, data: bytes) -> None:
        if self._begun is not None:
            self._keep(data)
            return
        if not self.requests and self.persistent:
            # at most the beginning of a request line has been left there
            data = self.clearLineBuffer() + data
            call = read_call(data) if data.startswith(_PLAIN) else None
            if call is not None:
                self._begin(call)
                return
        self._writes_at_once = False
        super().dataReceived(data)

    def connectionLost(self, reason: Failure) -> None:
        self._is_lost = True
        super().connectionLost(reason)

    def timeoutConnection(self) -> None:
        if self._begun is not None:
            self.setTimeout(self.timeOut)  # it is we who take so long
        else:
            super().timeoutConnection()

    def _begin(self, call: Call) -> None:
        self.resetTimeout()
        self._begun = _Begun(path=f"/api/v1/tasks/{call.task}/trigger", at=time.time())
        self._ask(call).add_done_callback(self._end)

    def _keep(self, data: bytes) -> None:
        self._kept.append(data)
        if sum(map(len, self._kept)) > _MOST_KEPT and not self._is_paused:
            self._is_paused = True
            self.transport.pauseProducing()

    def _end(self, answer: asyncio.Future[Reply]) -> None:
        begun, self._begun = self._begun, None
        kept, self._kept = b"".join(self._kept), []
        reply = _reply(answer)
        if begun is None or self._is_lost or self.transport.disconnecting:
            return
        self._write(reply, begun)
        if self._is_paused:
            self._is_paused = False
            self.transport.resumeProducing()
        if kept:
            self.dataReceived(kept)

    def _write(self, reply: Reply, begun: _Begun) -> None:
        content = reply.content
        server = self.factory.server
        data = _head(reply, content, server.server_name) + content
        sent: Any = 0
        if self._writes_at_once and isinstance(self.transport, Connection):
            # not through the reactor, which would ask the system when it may
            sent = self.transport.writeSomeData(data)
        if isinstance(sent, int) and sent < len(data):
            self._writes_at_once = False
            self.transport.write(data[sent:])
        if server.action_logger:
            self._note(reply.status, len(content), begun)

    def _note(self, status: int, size: int, begun: _Begun) -> None:
        peer = self.transport.getPeer()
        self.factory.server.log_action(
            "http",
            "complete",
            {
                "path": quote(begun.path), "status": status, "method": "POST", "size": size,
                "client": f"{peer.host}:{peer.port}" if hasattr(peer, "host") else None,
                "time_taken": time.time() - begun.at,
            },
        )  # fmt: skip


def _reply(answer: asyncio.Future[Reply]) -> Reply:
    try:
        return answer.result()
    except Exception:  # the group's; each of its callers is told
        log.exception("a trigger failed")
        return Reply(status=500, body=errors.INTERNAL)


def _head(reply: Reply, content: bytes, server_name: str) -> bytes:
    headers = response_headers(reply, content)
    if server_name:
        headers["server"] = server_name
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    reason = RESPONSES.get(reply.status, b"").decode()
    return f"HTTP/1.1 {reply.status} {reason}\r\n{lines}\r\n".encode("latin-1")


def read_call(data: bytes) -> Call | None:
    """The plain trigger that these bytes are from the first to the last; None if they are not."""
    head, found, content = data.partition(b"\r\n\r\n")
    if not found or len(head) > _LARGEST_HEAD:
        return None
    first, *lines = head.split(b"\r\n")
    request = _REQUEST.fullmatch(first)
    path = PATH.fullmatch(unquote(request[1].decode())) if request else None
    headers = _headers(lines)
    if path is None or headers is None or not _is_whole(headers, content):
        return None
    return Call(task=path[1], headers=headers, body=partial(parse_json, content))


def _headers(lines: list[bytes]) -> dict[str, str] | None:
    """By name in lower case; None when one is repeated, or not as plain as can be."""
    headers: dict[str, str] = {}
    for line in lines:
        if (found := _HEADER.fullmatch(line)) is None:
            return None
        headers[found[1].decode().lower()] = found[2].rstrip(b" \t").decode("latin-1")
    return headers if len(headers) == len(lines) else None


def _is_whole(headers: dict[str, str], content: bytes) -> bool:
    if not is_plain(headers) or not _NOT_PLAIN.isdisjoint(headers):
        return False
    if headers.get("connection", "keep-alive").lower() != "keep-alive":
        return False
    return int(headers.get("content-length", "0")) == len(content)
