"""Durable tasks that write down, in a file of the test's, what they really do."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from holdfast import now, random, step, step_sync, task, uuid, wait


def did(path: str, what: str) -> str:
    with Path(path).open("a") as file:
        file.write(f"{what}\n")
    return what


def die_once(path: str) -> str:
    """Kill the whole worker the first time, when everything before is recorded."""
    if "dying" in Path(path).read_text().splitlines():
        return did(path, "alive")
    did(path, "dying")
    os.kill(int(Path(path).with_suffix(".pid").read_text()), signal.SIGKILL)
    time.sleep(60)
    return "nobody is left to hear this"


@task(id="durable-child")
async def child(name: str) -> str:
    return f"hello {name}"


@task(id="durable-order", durable=True)
async def order(path: str) -> dict[str, object]:
    first = await step(did, path, "first")
    chance = [str(now()), random(), str(uuid())]
    await wait.for_(seconds=5)  # long enough for a test to see that it has left
    greeting = await child.trigger_and_wait("alice")
    last = await step(did, path, "last")
    return {"steps": [first, last], "greeting": greeting, "chance": chance}


@task(id="durable-killed", durable=True, retry={"attempts": 3, "min_delay": 0, "max_delay": 0})
async def killed(path: str) -> list[str]:
    before = await asyncio.gather(*(step(did, path, f"before {n}") for n in range(3)))
    what = await step(die_once, path, strict=True)
    return [*before, what, await step(did, path, "after")]


@task(id="durable-large", durable=True)
async def large() -> int:
    text = await step(lambda: "x" * 300_000, name="large")
    await wait.for_(seconds=2)
    return len(text)


@task(id="durable-paid", durable=True, retry={"attempts": 3, "min_delay": 0, "max_delay": 0})
def paid(order: dict[str, str]) -> int:
    """Pay in the customer's database, where the worker dies right after the commit."""

    @contextmanager
    def fragile() -> Iterator[psycopg.Connection]:
        with psycopg.connect(order["database"]) as database:
            yield database
        die_once(order["path"])

    return step_sync(pay, 5, transaction=fragile)


def pay(database: psycopg.Connection, amount: int) -> int:
    database.execute("UPDATE account SET balance = balance + %s", [amount])
    return amount
