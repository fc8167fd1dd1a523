"""The bell: Redis pub/sub that says "look now". Losing a ring costs one poll interval, no more."""

from __future__ import annotations

import json
import logging
import time
from functools import cache
from typing import Any

import redis
from django.conf import settings

CHANNEL = "holdfast:bell"
_QUIET_SECONDS = 2.0

log = logging.getLogger(__name__)
_silent_until = 0.0


def ring(kind: str, **detail: Any) -> None:
    """Tell every listening process; while Redis is away, say so once and skip for 2 seconds."""
    global _silent_until
    if time.monotonic() < _silent_until:
        return
    try:
        _client().publish(CHANNEL, json.dumps({"kind": kind, **detail}))
    except redis.RedisError as error:
        _silent_until = time.monotonic() + _QUIET_SECONDS
        log.warning("the bell is silent: Redis is not reachable", extra={"error": str(error)})


@cache
def _client() -> redis.Redis:
    return redis.Redis.from_url(
        settings.REDIS_URL, socket_timeout=1.0, socket_connect_timeout=0.5, retry=None
    )
