"""The bell: Redis pub/sub that says "look now". Losing a ring costs one poll interval, no more.

Who listens in the ringing process itself hears it at once, with or without Redis.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import redis
from django.conf import settings

CHANNEL = "holdfast:bell"
HERE = secrets.token_hex(8)  # which process rang
_QUIET_SECONDS = 2.0
_SELDOM_SECONDS = 0.2

Ring = dict[str, Any]

log = logging.getLogger(__name__)
_silent_until = 0.0
_seldom_until: dict[str, float] = {}
_near: list[Callable[[Ring], None]] = []


def ring(kind: str, **detail: Any) -> None:
    """Tell every listening process; while Redis is away, say so once and skip for 2 seconds."""
    global _silent_until
    rung = {"kind": kind, "from": HERE, **detail}
    for hear in _near:
        hear(rung)
    if time.monotonic() < _silent_until:
        return
    try:
        _client().publish(CHANNEL, json.dumps(rung))
    except redis.RedisError as error:
        _silent_until = time.monotonic() + _QUIET_SECONDS
        log.warning("the bell is silent: Redis is not reachable", extra={"error": str(error)})


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


@cache
def _client() -> redis.Redis:
    return redis.Redis.from_url(
        settings.REDIS_URL, socket_timeout=1.0, socket_connect_timeout=0.5, retry=None
    )
