"""When a worker lets go of durable runs that wait, so that they hold no process and no memory."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace

from holdfast.protocol import Timed
from holdfast.worker.held import HeldRuns
from holdfast.worker.run import Run

HOLD_SECONDS = 1.0
"""How long a run that has begun to wait keeps its process, in case it goes on soon."""

VARIABLE = "HOLDFAST_HOLD_SECONDS"


class Evictions:
    """Lets go of what has waited for long enough, and of the longest waiting when there are many.

    Args:
        held: All runs of the worker.
        most: How many waiting runs keep their processes.
        seconds: How long each does, 0: not at all; by default ``HOLDFAST_HOLD_SECONDS``, or 1.
    """

    def __init__(self, held: HeldRuns, *, most: int, seconds: float | None = None) -> None:
        self._held = held
        self._seconds = _configured() if seconds is None else seconds
        self._most = most
        self._holding: list[Run] = []

    def is_long(self, waitpoints: list[str], times: list[Timed]) -> bool:
        """Whether a wait is known to be longer than a run would be held for."""
        if self._seconds <= 0:
            return True
        horizon = (time.time() + self._seconds) * 1000
        return len(times) == len(waitpoints) and all(each.due_ms > horizon for each in times)

    def hold(self, run: Run) -> None:
        """Keep a waiting run for a while."""
        loop = asyncio.get_running_loop()
        if run.hold is not None:
            run.hold.cancel()
        run.hold = loop.call_later(self._seconds, self._release, run)
        self._holding = [each for each in self._holding if self._is_waiting(each)]
        if run not in self._holding:
            self._holding.append(run)
        if len(self._holding) > self._most:
            self._release(self._holding[0])

    def _release(self, run: Run) -> None:
        """Ask the server to take it; it answers whether it has, or has woken it."""
        if run in self._holding:
            self._holding.remove(run)
        suspended = run.suspended
        if self._is_waiting(run) and suspended is not None and not suspended.release:
            run.suspended = replace(suspended, release=True)
            self._held.report(run, run.suspended)

    def _is_waiting(self, run: Run) -> bool:
        return run in self._held and run.suspended is not None and run.result is None


def _configured() -> float:
    return float(os.environ.get(VARIABLE) or HOLD_SECONDS)
