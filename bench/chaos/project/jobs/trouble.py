"""What chaos runs: work of every kind, each step of which leaves a line in a file."""

from __future__ import annotations

import asyncio
import json
import os
import time
from typing import Any

from holdfast import Queue, Retry, ScheduledRun, ctx, schedule, step, task, wait

_EFFECTS = os.environ.get("CHAOS_EFFECTS", "")
_CHILDREN = 3
_DEPOSITS = 3


def _note(event: str) -> None:
    """Append one line; a write of this size to a file opened for appending is never torn."""
    if not _EFFECTS:
        return
    line = {"run": ctx.run.id, "attempt": ctx.attempt.number, "event": event,
            "process": os.getpid(), "at": time.monotonic()}  # fmt: skip
    with open(_EFFECTS, "a") as effects:
        effects.write(json.dumps(line) + "\n")


@task(id="plain", retry=12)
async def plain(payload: dict[str, Any]) -> int:
    """Take a moment."""
    _note("begin")
    await asyncio.sleep(payload["seconds"])
    _note("end")
    return int(payload["number"])


@task(id="keyed", retry=12, queue=Queue(name="keyed", concurrency_limit=1))
async def keyed(payload: dict[str, Any]) -> int:
    """One at a time for each key, in order."""
    _note("begin")
    _note("end")
    return int(payload["number"])


@task(id="flaky", retry=Retry(attempts=12, min_delay=0.2, max_delay=2))
async def flaky(payload: dict[str, Any]) -> int:
    """Fail the first times."""
    _note("begin")
    if ctx.attempt.number <= payload["failures"]:
        raise RuntimeError("not yet")
    _note("end")
    return int(payload["number"])


@task(id="sleepy", retry=12)
async def sleepy(payload: dict[str, Any]) -> int:
    """Wait, without a slot."""
    _note("begin")
    await wait.for_(seconds=payload["seconds"])
    _note("end")
    return int(payload["number"])


@task(id="parent", retry=12)
async def parent(payload: dict[str, Any]) -> int:
    """Wait for some children at once."""
    _note("begin")
    children = [plain.trigger_and_wait({"number": n, "seconds": 0.05}) for n in range(_CHILDREN)]
    results = await asyncio.gather(*children)
    if results != list(range(_CHILDREN)):
        raise AssertionError(f"a child's result is not its own: {results}")
    _note("end")
    return int(payload["number"])


@task(id="batcher", retry=12)
async def batcher(payload: dict[str, Any]) -> int:
    """Wait for a batch of children."""
    _note("begin")
    results = await plain.batch_trigger_and_wait(
        [{"number": n, "seconds": 0} for n in range(_CHILDREN)]
    )
    if results != list(range(_CHILDREN)):
        raise AssertionError(f"the results of a batch are not in order: {results}")
    _note("end")
    return int(payload["number"])


async def deposit(database: Any, run: str, number: int) -> int:
    """Write a row into the customer's own database, in the transaction of the step's record."""
    await database.execute("INSERT INTO deposit (run, number) VALUES (%s, %s)", [run, number])
    return number


async def think(number: int) -> int:
    """A step of the usual kind: it may be done again after a crash."""
    await asyncio.sleep(0.05)
    return number


@task(id="ledger", retry=Retry(attempts=12, min_delay=0.5, max_delay=10), durable=True)
async def ledger(payload: dict[str, Any]) -> int:
    """Steps of both kinds, with a wait and a child between them; each deposit exactly once."""
    _note("begin")
    for number in range(_DEPOSITS):
        if await step(think, number) != number:
            raise AssertionError("a step's result is not its own")
        await step(deposit, ctx.run.id, number, transaction=True)
        if number == 0:
            await wait.for_(seconds=payload["seconds"])
        elif await plain.trigger_and_wait({"number": number, "seconds": 0}) != number:
            raise AssertionError("a child's result is not its own")
    _note("end")
    return int(payload["number"])


@task(id="ticking", retry=12, schedule=schedule(every=3, missed="all", missed_limit=100))
async def ticking(run: ScheduledRun) -> str:
    """One run for each time, none left out."""
    _note("begin")
    _note("end")
    return run.timestamp.isoformat()


@task(id="lonely", retry=12, schedule=schedule(every=2, overlap="skip", missed="skip"))
async def lonely(run: ScheduledRun) -> str:
    """Takes longer than the time until the next one, which is left out."""
    _note("begin")
    await asyncio.sleep(5)
    _note("end")
    return run.timestamp.isoformat()
