"""A client of streams: reads Server-Sent Events, or a WebSocket, as they come."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.live import LiveServer

PATH = "/realtime/v1/events"
PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Event:
    """One message; a beat has no data."""

    event: str
    cursor: str | None
    data: Any = None

    def runs(self) -> list[tuple[str, str]]:
        return [(one["run"], one["kind"]) for one in self.data]


@dataclass(slots=True)
class Stream:
    """An open stream, and what was heard on it."""

    status: int
    headers: httpx.Headers
    body: str = ""
    arriving: queue.Queue[Event | None] = field(default_factory=queue.Queue)
    cursor: str | None = None
    heard: list[Event] = field(default_factory=list)

    def expect(self, wanted: Callable[[Event], bool]) -> Event:
        """The next message that is wanted; those before it stay in `heard`."""
        while True:
            event = self.next()
            assert event is not None, f"the stream ended after {self.heard}"
            if wanted(event):
                return event

    def next(self) -> Event | None:
        """The next message, None at the end."""
        event = self.arriving.get(timeout=PATIENCE)
        if event is not None:
            self.heard.append(event)
            self.cursor = event.cursor or self.cursor
        return event

    def named(self, name: str) -> Event:
        return self.expect(lambda event: event.event == name)

    def change(self, run: str, kind: str) -> Event:
        """The message that tells of this change."""
        return self.expect(lambda event: event.event == "runs" and (run, kind) in event.runs())

    def told(self) -> list[tuple[str, str]]:
        """All changes that were heard so far."""
        return [pair for event in self.heard if event.event == "runs" for pair in event.runs()]

    def ended(self) -> list[Event]:
        """All messages up to the end of the stream."""
        while self.next() is not None:
            pass
        return self.heard


@contextmanager
def listening(
    server: LiveServer, query: str = "", *, secret: str = "", **headers: str
) -> Iterator[Stream]:
    """Open a stream; the first beat has come, so that whatever follows is told."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if secret:
        sent["authorization"] = f"Bearer {secret}"
    with (
        httpx.Client(timeout=httpx.Timeout(PATIENCE)) as client,
        client.stream("GET", f"{server.url}{PATH}?{query}", headers=sent) as response,
    ):
        stream = Stream(response.status_code, response.headers)
        if response.status_code != 200:
            stream.body = response.read().decode()
            yield stream
            return
        reader = threading.Thread(target=_read, args=(response, stream.arriving), daemon=True)
        reader.start()
        try:
            stream.next()
            yield stream
        finally:
            response.close()
            reader.join(PATIENCE)


def _read(response: httpx.Response, arriving: queue.Queue[Event | None]) -> None:
    try:
        block: dict[str, str] = {}
        for line in response.iter_lines():
            name, _, value = line.partition(": ")
            if line:
                block[name or "beat"] = value
            elif "id" in block or "event" in block:
                arriving.put(_event(block))
                block = {}
            else:
                block = {}
    except (httpx.HTTPError, httpx.StreamError, OSError):
        arriving.put(Event("broken", None))
    finally:
        arriving.put(None)


def _event(block: dict[str, str]) -> Event:
    data = json.loads(block["data"]) if "data" in block else None
    return Event(block.get("event", "beat"), block.get("id"), data)


@contextmanager
def socket(
    server: LiveServer, query: str = "", *, protocols: tuple[str, ...] = (), **headers: str
) -> Iterator[Any]:
    """Open a WebSocket to the same address."""
    address = server.url.replace("http://", "ws://") + f"{PATH}?{query}"
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    offered = [Subprotocol(name) for name in protocols]
    with connect(address, additional_headers=sent, subprotocols=offered or None) as opened:
        yield opened
