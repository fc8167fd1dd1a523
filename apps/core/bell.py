"""The bell: Redis pub/sub that says "look now". Losing a ring costs one poll interval, no more.

Who listens in the ringing process itself hears it at once, with or without Redis. Others are told
by a thread, so that nobody who rings waits for Redis; what is still to be told is told once.
"""

from __future__ import annotations

import atexit
import json
import logging
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from threading import Condition, Thread
from typing import Any

import redis
from django.conf import settings

CHANNEL = "holdfast:bell"
HERE = secrets.token_hex(8)  # which process rang
_QUIET_SECONDS = 2.0
_SELDOM_SECONDS = 0.2
_LAST_SECONDS = 1.0

Ring = dict[str, Any]

log = logging.getLogger(__name__)
_seldom_until: dict[str, float] = {}
_near: list[Callable[[Ring], None]] = []


def ring(kind: str, **detail: Any) -> None:
    """Tell every listening process soon; while Redis is away nobody else hears it."""
    rung = {"kind": kind, "from": HERE, **detail}
    for hear in _near:
        hear(rung)
    _far().tell(json.dumps(rung))


def ring_seldom(kind: str) -> None:
    """Ring at most five times a second: for listeners that go on looking for a while when told."""
    now = time.monotonic()
    if now >= _seldom_until.get(kind, 0.0):
        _seldom_until[kind] = now + _SELDOM_SECONDS
        ring(kind)


@contextmanager
def heard_near(hear: Callable[[Ring], None]) -> Iterator[None]:
    """Have `hear` called for rings of this process, on the thread that rings."""
    _near.append(hear)
    try:
        yield
    finally:
        _near.remove(hear)


class _Far:
    """Publishes what is rung, in order and each only once while it waits."""

    def __init__(self) -> None:
        self._waiting: dict[str, None] = {}
        self._changed = Condition()
        self._is_telling = False
        Thread(target=self._tell_all, name="bell", daemon=True).start()
        atexit.register(self._finish)

    def tell(self, ring: str) -> None:
        with self._changed:
            self._waiting[ring] = None
            self._changed.notify_all()

    def _tell_all(self) -> None:
        client = redis.Redis.from_url(
            settings.REDIS_URL, socket_timeout=1.0, socket_connect_timeout=0.5, retry=None
        )
        silent_until = 0.0
        while True:
            ring = self._next()
            if time.monotonic() < silent_until:
                continue
            try:
                client.publish(CHANNEL, ring)
            except redis.RedisError as error:
                silent_until = time.monotonic() + _QUIET_SECONDS
                log.warning(
                    "the bell is silent: Redis is not reachable", extra={"error": str(error)}
                )

    def _next(self) -> str:
        with self._changed:
            self._is_telling = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._waiting)
            self._is_telling = True
            ring = next(iter(self._waiting))
            del self._waiting[ring]
            return ring

    def _finish(self) -> None:
        """A short command rings before it ends."""
        with self._changed:
            self._changed.wait_for(
                lambda: not self._waiting and not self._is_telling, _LAST_SECONDS
            )


@cache
def _far() -> _Far:
    return _Far()
