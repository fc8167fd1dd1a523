"""When a dispatcher looks again although nobody rings."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from uuid import uuid4

from apps.coordinator.dispatcher import Dispatcher
from apps.coordinator.seats import Seat
from apps.core import clock
from apps.runs.limits import Limits
from apps.runs.operations.claim import Claimed

PATIENCE = 60.0


class Turns:
    """Stands for PostgreSQL: what each turn tells, in order, and how many there were."""

    def __init__(self, *seconds: float) -> None:
        self._left = list(seconds)
        self.count = 0
        self.are_over = asyncio.Event()

    async def run(self, *_: object, **__: object) -> Claimed:
        self.count += 1
        if not self._left:
            self.are_over.set()
            return Claimed(answers=[])
        return Claimed(answers=[], free_at=clock.now() + timedelta(seconds=self._left.pop(0)))


async def test_it_looks_when_a_rate_allows_a_start_not_only_at_its_poll(settings):
    settings.LIMITS = Limits(poll_seconds=3_600.0)
    dispatcher, turns = Dispatcher(), Turns(0.02, 0.01)
    dispatcher.database = turns
    seat = Seat(
        session_id=uuid4(), environment_id=uuid4(), version_id=uuid4(), machine="", capacity=1,
        send=lambda messages: None,
    )  # fmt: skip
    dispatcher._seats[seat.session_id] = seat
    serving = asyncio.ensure_future(dispatcher._serve())
    dispatcher.report([])  # what wakes it once
    async with asyncio.timeout(PATIENCE):
        await turns.are_over.wait()
    serving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await serving
    assert turns.count == 3
