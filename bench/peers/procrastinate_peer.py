"""Procrastinate: one worker with 16 places, LISTEN/NOTIFY, on the same PostgreSQL."""

from __future__ import annotations

import asyncio
import os
import sys
import time

import meter
from procrastinate import App, PsycopgConnector

app = App(connector=PsycopgConnector(conninfo=os.environ["PEER_DATABASE"], min_size=4, max_size=20))
JOBS, SINGLE = 3000, 800


@app.task
async def noop() -> None:
    meter.tick()


@app.task
async def began(number: int) -> None:
    meter.tick(number)


async def work() -> None:
    async with app.open_async():
        await app.run_worker_async(concurrency=meter.CAPACITY)


async def drive() -> None:
    jobs = meter.Meter()
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        started = time.perf_counter()
        for _ in range(JOBS // 1000):
            await noop.batch_defer_async(*[{} for _ in range(1000)])
        meter.say("batched_triggers_of_1000", JOBS / (time.perf_counter() - started), "triggers/s")
        await meter.from_many_callers(noop.defer_async, count=SINGLE)
        with meter.worker():
            jobs.drained(JOBS + SINGLE)
            await began.defer_async(number=0)
            await asyncio.to_thread(jobs.take, 1)
            jobs.started(await meter.at_fixed_moments(lambda n: began.defer_async(number=n)))


asyncio.run(work() if "work" in sys.argv else drive())
