"""All that one stream says, whatever it is carried by."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import parse_qs

from apps.core import clock
from apps.core.database import Outage
from apps.core.errors import DomainError, Unavailable
from apps.realtime import messages
from apps.realtime.access import Credentials, Watcher, admit, identify
from apps.realtime.hub import Subscriber, hub
from apps.realtime.limits import limits
from apps.realtime.messages import Message
from apps.realtime.wanted import Wanted
from apps.runs.feed import Cursor


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a client asked for: with which credentials, about what, and since when."""

    credentials: Credentials
    wanted: Wanted
    since: Cursor | None


def parse(query_string: str, *, bearer: str, session_key: str, branch: str, place: str) -> Asked:
    """What a request asks; `place` is the Last-Event-ID, which is later than any cursor in the
    address. Raises Invalid, and NotFound for a name that cannot be."""
    query = parse_qs(query_string, keep_blank_values=True)
    cursor = place or query.get("cursor", [""])[0]
    credentials = Credentials(
        bearer=bearer,
        session_key=session_key,
        branch=branch or query.get("branch", [""])[0] or None,
        environment=query.get("environment", [""])[0] or None,
    )
    since = Cursor.parse(cursor) if cursor else None
    return Asked(credentials=credentials, wanted=Wanted.parse(query), since=since)


async def begin(asked: Asked) -> Subscriber:
    """Let somebody in; raises a DomainError. Whoever calls this must let the hub `leave` it."""
    try:
        watcher: Watcher = await hub().access.run(
            admit, asked.credentials, asked.wanted, now=clock.now()
        )
    except Outage as error:
        raise Unavailable from error
    return await hub().join(watcher, asked.wanted)


async def conversation(subscriber: Subscriber, asked: Asked) -> AsyncIterator[Message]:
    """What was missed, then what happens, for as long as the credentials open it."""
    if asked.since is not None and (missed := await hub().catch_up(subscriber, asked.since)):
        yield missed
    if first := subscriber.beat():
        yield first
    loop = asyncio.get_running_loop()
    check_at = loop.time() + until_check()
    while True:
        if loop.time() >= check_at:
            if not await is_still_open(asked.credentials):
                yield messages.end("unauthorized")
                return
            check_at = loop.time() + until_check()
        patience = min(limits().heartbeat_seconds, max(0.0, check_at - loop.time()))
        if message := await _next(subscriber, patience):
            yield message


async def _next(subscriber: Subscriber, seconds: float) -> Message | None:
    try:
        async with asyncio.timeout(seconds):
            return await subscriber.next()
    except TimeoutError:
        return subscriber.beat()


def until_check() -> float:
    """Not all at the same time: streams open together when a server comes back."""
    return limits().recheck_seconds * random.uniform(0.5, 1.0)  # noqa: S311 -- only spreads load


async def is_still_open(credentials: Credentials) -> bool:
    """Whether these credentials open what they did; asked every `until_check` seconds."""
    try:
        await hub().access.run(identify, credentials, now=clock.now())
    except Outage:
        return True  # asked again at the next check
    except DomainError:
        return False
    return True
