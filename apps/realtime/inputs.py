"""What is sent to an input of a run, as Server-Sent Events in the contract's second framing."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from uuid import UUID

from apps.core.database import Outage
from apps.core.errors import DomainError, Invalid, NotFound
from apps.core.ids import parse_public_id
from apps.realtime.conversation import Asked, begin, is_still_open, until_check
from apps.realtime.hub import Subscriber, hub
from apps.realtime.limits import limits
from apps.realtime.requests import asked_by, header
from apps.realtime.streams import Receive, Send, check_site, headers_for, refuse, serve
from apps.realtime.wanted import Wanted
from apps.runs.inputs import Items, SentItem, count_inputs, list_inputs
from holdfast.packets import SUPERJSON

T = TypeVar("T")

PATH = re.compile(r"/realtime/v1/streams/(?P<run>[^/]+)/input/(?P<key>.+)")

_PAGE = 20
_SECONDS, _LONGEST_SECONDS = 60, 600
_MOST_ITEMS, _DIGITS = 2**31 - 2, 10
_OUTAGE_PAUSE = 1.0
_PING = b": ping\n\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a client wants to read: an input from an item on, until nothing has come for a while.

    Without a first item it begins after those that there are.
    """

    asked: Asked
    run_id: UUID
    key: str
    since: int | None
    seconds: int


async def input_items(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """`GET /realtime/v1/streams/:run/input/:key`."""
    try:
        reading = _reading(scope)
        check_site(scope, reading.asked)
        subscriber = await begin(reading.asked)
    except DomainError as error:
        await refuse(send, error)
        return
    try:
        headers = [*headers_for(reading.asked), (b"x-stream-version", b"v2")]
        await serve(_told(subscriber, reading), receive, send, headers=headers)
    finally:
        hub().leave(subscriber)


def _reading(scope: dict[str, Any]) -> Reading:
    found = PATH.fullmatch(scope["path"])
    if found is None:
        raise NotFound
    run_id = parse_public_id("run", found["run"])
    asked = asked_by(scope, place="")
    place, seconds = header(scope, b"last-event-id"), header(scope, b"timeout-seconds")
    since: int | None = 0
    if place:
        since = _number(place, "Last-Event-ID", most=_MOST_ITEMS) + 1
    elif header(scope, b"x-trigger-stream-start") == "latest":
        since = None
    return Reading(
        asked=replace(asked, wanted=Wanted(runs=frozenset({run_id})), since=None),
        run_id=run_id,
        key=found["key"],
        since=since,
        seconds=_number(seconds, "Timeout-Seconds", most=_LONGEST_SECONDS) if seconds else _SECONDS,
    )


def _number(text: str, name: str, *, most: int) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > _DIGITS or int(text) > most:
        raise Invalid(f"{name} is a number from 0 to {most}", detail={name: ["malformed"]})
    return int(text)


async def _told(subscriber: Subscriber, reading: Reading) -> AsyncIterator[bytes]:
    """Items as they come; the end when the run ends, or none has come for so many seconds."""
    loop = asyncio.get_running_loop()
    check_at, patient_until = loop.time() + until_check(), loop.time() + reading.seconds
    scope, since = subscriber.scope, reading.since
    if since is None:
        since = await _ask(count_inputs, scope, reading.run_id, reading.key)
    while True:
        items: Items = await _ask(
            list_inputs, scope, reading.run_id, reading.key, since=since, most=_PAGE
        )
        if items.found:
            yield _batch(items.found)
            since, patient_until = items.found[-1].seq + 1, loop.time() + reading.seconds
        if items.is_over or loop.time() >= patient_until:
            return
        if loop.time() >= check_at:
            if not await is_still_open(reading.asked.credentials):
                return
            check_at = loop.time() + until_check()
        if len(items.found) < _PAGE and not await _news(subscriber, patient_until - loop.time()):
            yield _PING


async def _news(subscriber: Subscriber, seconds: float) -> bool:
    """Wait until something has happened to the run, for so long at most; whether it has."""
    try:
        async with asyncio.timeout(min(seconds, limits().heartbeat_seconds)):
            await subscriber.next()
    except TimeoutError:
        return False
    return True


async def _ask(question: Callable[..., T], *arguments: Any, **named: Any) -> T:
    """Ask the database, which may be away for a moment."""
    while True:
        try:
            found: T = await hub().access.run(question, *arguments, **named)
        except Outage:
            await asyncio.sleep(_OUTAGE_PAUSE)
        else:
            return found


def _batch(items: Sequence[SentItem]) -> bytes:
    records = [
        {
            "seq_num": item.seq,
            "timestamp": round(item.sent_at.timestamp() * 1000),
            "headers": [],
            "body": json.dumps({"id": item.part or str(item.seq), "data": _value(item)}),
        }
        for item in items
    ]
    data = json.dumps({"records": records}, separators=(",", ":"))
    return f"id: {items[-1].seq}\nevent: batch\ndata: {data}\n\n".encode()


def _value(item: SentItem) -> Any:
    """What a client shows: text as it is, JSON, and what a packet of the contract has for JSON."""
    if item.data is None or item.data_type.startswith("text/"):
        return item.data
    try:
        found = json.loads(item.data)
    except ValueError:
        return item.data
    is_packet = item.data_type == SUPERJSON and isinstance(found, dict)
    return found.get("json") if is_packet else found
