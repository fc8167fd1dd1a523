"""Hear the bell: Redis pub/sub, listened to once per process, for ever."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import redis.asyncio as redis
from django.conf import settings

from apps.core.bell import CHANNEL, HERE, Ring, heard_near

_PAUSE_SECONDS = 1.0

log = logging.getLogger(__name__)


async def listen(heard: Callable[[Ring], None]) -> None:
    """Call `heard` for every ring. While Redis is away the poll interval carries on alone."""
    loop = asyncio.get_running_loop()

    def hear(ring: Ring) -> None:
        loop.call_soon_threadsafe(heard, ring)

    with heard_near(hear):
        await _listen_far(heard)


async def _listen_far(heard: Callable[[Ring], None]) -> None:
    was_away = False
    while True:
        try:
            client = redis.Redis.from_url(settings.REDIS_URL)
            async with client, client.pubsub() as channel:
                await channel.subscribe(CHANNEL)
                if was_away:
                    log.info("the bell is heard again")
                was_away = False
                # whatever rang in between is made up for by one look
                heard({"kind": "ready", "environment": None})
                async for message in channel.listen():
                    _pass_on(message, heard)
        except (redis.RedisError, OSError) as error:
            if not was_away:
                log.warning("the bell cannot be heard", extra={"error": str(error)})
            was_away = True
        await asyncio.sleep(_PAUSE_SECONDS)


def _pass_on(message: Any, heard: Callable[[Ring], None]) -> None:
    if message["type"] == "message":
        ring: Ring = json.loads(message["data"])
        if ring.get("from") != HERE:
            heard(ring)
