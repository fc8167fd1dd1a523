"""Durable tasks of the benchmarks: three steps, and a wait for a moment."""

from __future__ import annotations

from datetime import UTC, datetime

from holdfast import step, task, wait


async def add(n: int) -> int:
    return n + 1


@task(id="three-steps", durable=True, retry=1)
async def three_steps(payload: None = None) -> int:
    return await step(add, await step(add, await step(add, 0)))


@task(id="asleep", durable=True, retry=1)
async def asleep(until: float) -> int:
    first = await step(add, 0)
    await wait.until(datetime.fromtimestamp(until, UTC))
    return await step(add, first)
