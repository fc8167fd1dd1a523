"""What the benchmarks run: nothing, and the time at which it began."""

from __future__ import annotations

import time

from holdfast import task


@task(id="noop", retry=1)
async def noop(payload: None = None) -> None:
    return None


@task(id="began", retry=1)
async def began(payload: None = None) -> float:
    return time.time()


@task(id="scheduled", retry=1)
async def scheduled() -> None:
    """What schedules start: it takes no payload, so any is fine."""
