"""Looks at a worker's runs all the time: at their leases, at their limits, at open reports."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time

from holdfast.machines import get_machine
from holdfast.worker import limits
from holdfast.worker.backlog import Backlog
from holdfast.worker.connection import Connection
from holdfast.worker.endings import Verdict
from holdfast.worker.execution import Executions
from holdfast.worker.held import HeldRuns
from holdfast.worker.processors import CpuWatch
from holdfast.worker.run import Run

_log = logging.getLogger("holdfast.worker")

_TICKS_PER_LOOK = 10


class Watch:
    """The look at everything, several times a second.

    Args:
        held: All runs of the worker.
        backlog: Runs that may have waited too long.
        executions: Where runs are killed.
        connection: Says when the server was heard of.

    Attributes:
        lease_seconds: For how long a run is this worker's without contact; 0: not known yet.
    """

    def __init__(
        self, *, held: HeldRuns, backlog: Backlog, executions: Executions, connection: Connection
    ) -> None:
        self.lease_seconds = 0.0
        self._held = held
        self._backlog = backlog
        self._executions = executions
        self._connection = connection

    async def run(self) -> None:
        """Look at leases and limits until the end."""
        for tick in itertools.count():
            if not self._held:
                await self._held.wait_for_any()
                self._executions.forget_memory_kills()
            await asyncio.sleep(limits.INTERVAL_SECONDS)
            is_long_look = tick % _TICKS_PER_LOOK == 0
            self._fence()
            self._backlog.give_back()
            if is_long_look:
                self._executions.look_for_memory_kills()
            now = time.monotonic()
            for run in self._held:
                self._held.remind(run, now)
                self._look(run, now, is_long=is_long_look)

    def _fence(self) -> None:
        """Stop what may run elsewhere by now: no contact for the length of a lease."""
        if self._connection.is_silent:
            return
        silence = time.monotonic() - self._connection.contact
        if not self.lease_seconds or silence <= self.lease_seconds:
            return
        for run in self._held:
            if run.result is None:
                _log.warning("no contact for %.0f s: stopping %s", silence, run.id)
                self._held.forget(run, kill=True)

    def _look(self, run: Run, now: float, *, is_long: bool) -> None:
        if run.process is None or now - run.started_at < limits.INTERVAL_SECONDS:
            return
        if run.suspended is not None and not is_long:
            return  # it does nothing, and there may be many
        verdict = self._over_limit(run)
        if verdict is not None:
            self._executions.kill(run, verdict)
        elif is_long:
            self._watch_cpus(run, now)

    def _over_limit(self, run: Run) -> Verdict | None:
        process = run.process
        if process is None or process.pid is None or process.status is not None:
            return None
        return limits.exceeded(process.pid, get_machine(run.order.machine))

    def _watch_cpus(self, run: Run, now: float) -> None:
        process = run.process
        if process is None or process.pid is None or process.busy_with != run.id:
            return
        if run.cpus is None:
            run.cpus = CpuWatch(process.pid, get_machine(run.order.machine))
        run.cpus.look(now, most_processes=limits.MAX_PROCESSES)
