"""What chaos runs: work of every kind, each step of which leaves a line in a file."""

from __future__ import annotations

import asyncio
import json
import os
import time
from typing import Any

from holdfast import Queue, Retry, ctx, task, wait

_EFFECTS = os.environ.get("CHAOS_EFFECTS", "")
_CHILDREN = 3


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
