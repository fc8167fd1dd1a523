"""oban-py: one instance with 16 places, its rows kept, on the same PostgreSQL."""

from __future__ import annotations

import asyncio
import os
import sys
import time

import meter
from oban import Oban, worker
from oban.schema import install_sql

DATABASE = os.environ["PEER_DATABASE"]
JOBS, SINGLE = 3000, 800


@worker(queue="default")
class Noop:
    async def process(self, job: object) -> None:
        meter.tick()


@worker(queue="default")
class Began:
    async def process(self, job: object) -> None:
        meter.tick(job.args["number"])  # type: ignore[attr-defined]


async def work() -> None:
    pool = await Oban.create_pool(DATABASE)
    async with Oban(pool=pool, queues={"default": meter.CAPACITY}):
        await asyncio.Event().wait()


async def drive() -> None:
    jobs = meter.Meter()
    pool = await Oban.create_pool(DATABASE, min_size=4, max_size=20)
    async with pool.connection() as connection:
        await connection.execute(install_sql())
    oban = Oban(pool=pool)
    started = time.perf_counter()
    for _ in range(JOBS // 1000):
        await oban.enqueue_many(Noop.new({}) for _ in range(1000))
    meter.say("batched_triggers_of_1000", JOBS / (time.perf_counter() - started), "triggers/s")
    await meter.from_many_callers(lambda: oban.enqueue(Noop.new({})), count=SINGLE)
    with meter.worker():
        jobs.drained(JOBS + SINGLE)
        await oban.enqueue(Began.new({"number": 0}))
        await asyncio.to_thread(jobs.take, 1)
        jobs.started(await meter.at_fixed_moments(lambda n: oban.enqueue(Began.new({"number": n}))))
    await pool.close()


asyncio.run(work() if "work" in sys.argv else drive())
