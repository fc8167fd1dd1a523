"""Celery with Redis and `acks_late`: what a Django team uses first."""

from __future__ import annotations

import asyncio
import os
import sys
import time

import meter
from celery import Celery

app = Celery("celery_peer", broker=os.environ["PEER_REDIS"])
app.conf.update(task_acks_late=True, task_ignore_result=True, worker_prefetch_multiplier=8)
JOBS, SINGLE = 3000, 800


@app.task
def noop() -> None:
    meter.tick()


@app.task
def began(number: int) -> None:
    meter.tick(number)


async def drive() -> None:
    jobs = meter.Meter()
    app.control.purge()
    started = time.perf_counter()
    for _ in range(JOBS):
        noop.delay()
    meter.say("batched_triggers_of_1000", JOBS / (time.perf_counter() - started), "triggers/s")
    await meter.from_many_callers(lambda: asyncio.to_thread(noop.delay), count=SINGLE)
    pool = ("--pool", "prefork", "-c", "4", "--loglevel", "ERROR")
    with meter.worker(sys.executable, "-m", "celery", "-A", "celery_peer", "worker", *pool):
        jobs.drained(JOBS + SINGLE)
        began.delay(0)
        await asyncio.to_thread(jobs.take, 1)
        jobs.started(await meter.at_fixed_moments(lambda n: asyncio.to_thread(began.delay, n)))


if __name__ == "__main__":
    asyncio.run(drive())
