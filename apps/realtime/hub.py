"""The hub: one reader per process follows the feed and fans it out to who listens here."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Iterable
from functools import cache
from typing import Any
from uuid import UUID

from apps.core import clock, metrics
from apps.core.database import DatabaseThread, Outage
from apps.core.errors import LimitExceeded, Unavailable
from apps.core.hearing import listen
from apps.realtime import messages
from apps.realtime.access import Watcher
from apps.realtime.limits import limits
from apps.realtime.messages import Message
from apps.realtime.wanted import Wanted
from apps.runs.feed import Change, Cursor, Reading, latest_cursor, read_changes

_CHANGES_AT_ONCE = 2_000  # of one environment in one reading; the rest comes with the next
_AWAKE_SECONDS = 1.0  # a ring may be left out shortly after another one: go on reading so long
_OUTAGE_PAUSE = 1.0
_RETRY_SECONDS = 5.0

log = logging.getLogger(__name__)


class Subscriber:
    """One stream: what it has not sent yet, up to a bound.

    Beyond the bound everything is dropped for one `resync`: whoever reads too slowly is not kept
    in memory, and looks at everything anew when it is ready to.
    """

    def __init__(self, channel: Channel, wanted: Wanted, watcher: Watcher) -> None:
        self.wanted = wanted
        self.scope = watcher.scope
        self.holder = watcher.holder
        self._channel = channel
        self._waiting: deque[Message] = deque()
        self._is_behind = False
        self._filled = asyncio.Event()

    @property
    def environment_id(self) -> UUID:
        return self._channel.environment_id

    @property
    def cursor(self) -> Cursor:
        """How far this stream is complete once it has sent what waits."""
        return self._channel.cursor

    def beat(self) -> Message | None:
        """Word of how far it is, unless something waits: that comes first."""
        return None if self._filled.is_set() else messages.beat(self.cursor)

    def offer(self, message: Message) -> None:
        if self._is_behind:
            return
        if len(self._waiting) >= limits().buffered_messages:
            self._waiting.clear()
            self._is_behind = True
            metrics.realtime_resyncs.inc()
        else:
            self._waiting.append(message)
        self._filled.set()

    async def next(self) -> Message:
        """The next message, when there is one."""
        await self._filled.wait()
        if self._is_behind:
            self._is_behind = False
            self._filled.clear()
            return messages.resync(self.cursor, "slow")
        message = self._waiting.popleft()
        if not self._waiting:
            self._filled.clear()
        return message


class Channel:
    """One environment that is watched here, and how far its feed has been read."""

    def __init__(self, environment_id: UUID, cursor: Cursor) -> None:
        self.environment_id = environment_id
        self.cursor = cursor
        self._told_early: frozenset[UUID] = frozenset()
        self._groups: dict[Wanted, set[Subscriber]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._groups.values()))

    def add(self, subscriber: Subscriber) -> None:
        self._groups.setdefault(subscriber.wanted, set()).add(subscriber)

    def remove(self, subscriber: Subscriber) -> None:
        group = self._groups.get(subscriber.wanted, set())
        group.discard(subscriber)
        if not group:
            self._groups.pop(subscriber.wanted, None)

    def take(self, reading: Reading) -> bool:
        """Tell what was read and has not been told; whether there was any."""
        found = [*reading.changes, *reading.early]
        fresh = [one for one in found if one.cursor.event_id not in self._told_early]
        self._told_early = frozenset(one.cursor.event_id for one in reading.early)
        self.cursor = reading.cursor
        if fresh:
            self._tell(fresh)
        return bool(fresh)

    def _tell(self, changes: list[Change]) -> None:
        for wanted, group in self._groups.items():
            told = changes if wanted.is_everything else [c for c in changes if wanted.covers(c)]
            if told:
                message = messages.told(told, self.cursor)
                for subscriber in group:
                    subscriber.offer(message)


class Hub:
    """Everybody who watches through this process."""

    def __init__(self) -> None:
        self.access = DatabaseThread("realtime-access")
        self._database = DatabaseThread("realtime")
        self._channels: dict[UUID, Channel] = {}
        self._holders: dict[str, int] = {}
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    # -- What streams call ---------------------------------------------------------------------

    async def join(self, watcher: Watcher, wanted: Wanted) -> Subscriber:
        """Begin to listen: whatever is committed from now on is told; raises LimitExceeded."""
        self._admit(watcher)
        try:
            channel = await self._channel(watcher.scope.environment_id)
        except BaseException:
            self._release(watcher.holder)
            raise
        subscriber = Subscriber(channel, wanted, watcher)
        channel.add(subscriber)
        self._ensure_running()
        return subscriber

    def leave(self, subscriber: Subscriber) -> None:
        channel = self._channels[subscriber.environment_id]
        channel.remove(subscriber)
        if not len(channel):
            del self._channels[subscriber.environment_id]
        self._release(subscriber.holder)

    async def catch_up(self, subscriber: Subscriber, since: Cursor) -> Message | None:
        """What this stream has missed since a cursor, or word that it is too much to tell."""
        now = clock.now()
        if since.is_too_old(now):
            return messages.resync(subscriber.cursor, "old")
        place = {subscriber.environment_id: since}
        readings = await self._ask(read_changes, place, most=limits().catch_up_changes, now=now)
        reading: Reading = readings[subscriber.environment_id]
        if reading.is_cut:
            return messages.resync(subscriber.cursor, "many")
        missed = [*reading.changes, *reading.early]
        told = [change for change in missed if subscriber.wanted.covers(change)]
        return messages.told(told, reading.cursor) if told else None

    def _admit(self, watcher: Watcher) -> None:
        bounds, held = limits(), self._holders.get(watcher.holder, 0)
        most = bounds.streams_per_person if watcher.is_person else bounds.streams_per_credential
        if held >= most:
            raise LimitExceeded(
                f"There are {held} open streams already, and no more than {most} may be",
                retry_after=_RETRY_SECONDS,
            )
        if sum(self._holders.values()) >= bounds.streams:
            raise Unavailable("This server has as many streams as it can carry")
        self._holders[watcher.holder] = held + 1
        metrics.realtime_streams.inc()

    def _release(self, holder: str) -> None:
        metrics.realtime_streams.dec()
        self._holders[holder] -= 1
        if not self._holders[holder]:
            del self._holders[holder]

    async def _channel(self, environment_id: UUID) -> Channel:
        if environment_id not in self._channels:
            cursor = await self._ask(latest_cursor, now=clock.now())
            # somebody else may have opened it meanwhile
            self._channels.setdefault(environment_id, Channel(environment_id, cursor))
        return self._channels[environment_id]

    async def _ask(self, question: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return await self._database.run(question, *args, **kwargs)
        except Outage as error:
            raise Unavailable from error

    # -- The reader ----------------------------------------------------------------------------

    def _ensure_running(self) -> None:
        if self._tasks and not any(task.done() for task in self._tasks):
            return
        for task in self._tasks:
            task.cancel()
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._follow()), loop.create_task(listen(self._heard))]

    def _heard(self, ring: dict[str, Any]) -> None:
        if ring.get("kind") in {"changed", "ready"}:
            self._wake.set()

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        awake_until = 0.0
        while True:
            is_awake = loop.time() < awake_until
            if await self._woken(limits().gather_seconds if is_awake else limits().poll_seconds):
                awake_until = loop.time() + _AWAKE_SECONDS
            if await self._read():
                awake_until = loop.time() + _AWAKE_SECONDS
            # what happens meanwhile is told together: a page wants few messages, not early ones
            await asyncio.sleep(limits().gather_seconds)

    async def _woken(self, seconds: float) -> bool:
        """Wait for a ring, so long at most; whether there was one."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        was_woken = self._wake.is_set()
        self._wake.clear()
        return was_woken

    async def _read(self) -> bool:
        channels = dict(self._channels)
        if not channels:
            return False
        places = {environment_id: one.cursor for environment_id, one in channels.items()}
        try:
            readings = await self._database.run(
                read_changes, places, most=_CHANGES_AT_ONCE, now=clock.now()
            )
        except Outage as error:
            log.warning("PostgreSQL is away, streams wait", extra={"error": str(error)})
        except Exception:
            log.exception("reading the feed failed; it is tried again")
        else:
            return self._pass_on(channels, readings)
        await asyncio.sleep(_OUTAGE_PAUSE)
        return False

    def _pass_on(self, channels: dict[UUID, Channel], readings: dict[UUID, Reading]) -> bool:
        found: Iterable[bool] = [
            channels[environment_id].take(reading) or reading.is_cut
            for environment_id, reading in readings.items()
        ]
        return any(found)


@cache
def hub() -> Hub:
    """The hub of this process."""
    return Hub()
