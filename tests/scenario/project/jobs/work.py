"""Tasks that a worker of the scenario tests runs."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time

from holdfast import Retry, ctx, metadata, task


@task(id="hello")
async def hello(payload: dict[str, str]) -> str:
    return f"hello {payload['name']}"


@task(id="parent")
async def parent(payload: dict[str, int]) -> int:
    results = await asyncio.gather(
        *(double.trigger_and_wait({"n": n}) for n in range(payload["n"]))
    )
    return sum(results)


@task(id="double")
async def double(payload: dict[str, int]) -> int:
    return payload["n"] * 2


@task(id="nest", queue="nest")
async def nest(payload: dict[str, int]) -> int:
    if payload["depth"] == 0:
        return 0
    return 1 + await nest.trigger_and_wait({"depth": payload["depth"] - 1})


@task(id="flaky", retry=Retry(attempts=3, min_delay=0.05, max_delay=0.1))
async def flaky(payload: dict[str, int]) -> int:
    metadata.set("attempt", ctx.attempt.number)
    if ctx.attempt.number < payload["until"]:
        raise ValueError(f"attempt {ctx.attempt.number} fails")
    return ctx.attempt.number


@task(id="forever", max_duration=600)
async def forever(payload: None = None) -> None:
    await asyncio.Event().wait()


@task(id="short", max_duration=1)
def short(payload: None = None) -> None:
    while True:
        time.sleep(0.01)


@task(id="die", retry=1)
def die(payload: dict[str, str]) -> None:
    if payload["how"] == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if payload["how"] == "exit":
        sys.exit(7)


@task(id="slow")
async def slow(payload: dict[str, float]) -> str:
    await asyncio.sleep(payload["seconds"])
    return "slept"
