"""DBOS: workflows from a queue of 16 places, polled every 10 ms; and three steps in a row."""

from __future__ import annotations

import asyncio
import os
import sys
import time

import meter
from dbos import DBOS, DBOSClient

URL = os.environ["PEER_DATABASE"]
JOBS, SINGLE, STEPPED = 2000, 800, 400
OPTIONS = {"queue_name": "bench", "app_version": "bench"}


@DBOS.workflow()
def noop() -> None:
    meter.tick()


@DBOS.workflow()
def began(number: int) -> None:
    meter.tick(number)


@DBOS.step()
def step() -> int:
    return 1


@DBOS.workflow()
def three_steps() -> int:
    meter.tick()
    return step() + step() + step()


def work() -> None:
    DBOS(
        config={
            "name": "bench",
            "system_database_url": URL,
            "application_version": "bench",
            "log_level": "ERROR",
        }
    )
    DBOS.launch()
    DBOS.register_queue("bench", worker_concurrency=meter.CAPACITY, polling_interval_sec=0.01)
    while True:
        time.sleep(60)


async def drive() -> None:
    jobs = meter.Meter()
    with meter.worker():
        client = await _ready_client()
        await asyncio.to_thread(jobs.take, 1)
    enqueue = client.enqueue_async
    await meter.from_many_callers(
        lambda: enqueue({**OPTIONS, "workflow_name": "noop"}), count=SINGLE
    )
    for _ in range(JOBS):
        await enqueue({**OPTIONS, "workflow_name": "noop"})
    with meter.worker():
        jobs.drained(JOBS + SINGLE)
        await asyncio.sleep(1)
        jobs.started(
            await meter.at_fixed_moments(
                lambda n: enqueue({**OPTIONS, "workflow_name": "began"}, n)
            )
        )
    for _ in range(STEPPED):
        await enqueue({**OPTIONS, "workflow_name": "three_steps"})
    with meter.worker():
        times = jobs.take(STEPPED)
        meter.say("three_step_durable_runs", STEPPED / (times[-2] - times[-1]), "runs/s")


async def _ready_client() -> DBOSClient:
    """A client of a database that the worker has prepared; it has run one workflow."""
    while True:
        try:
            client = DBOSClient(system_database_url=URL)
            await client.enqueue_async({**OPTIONS, "workflow_name": "noop"})
        except Exception:
            await asyncio.sleep(0.5)
        else:
            return client


if "work" in sys.argv:
    work()
else:
    asyncio.run(drive())
