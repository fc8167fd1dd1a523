"""What the coordinator says about runs, and what the worker does upon it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from holdfast.protocol import Cancel, Execute, Malformed, Message, Recorded, Resume, Settled, Stale
from holdfast.worker import endings
from holdfast.worker.backlog import Backlog
from holdfast.worker.execution import Executions
from holdfast.worker.held import HeldRuns
from holdfast.worker.people import People
from holdfast.worker.run import Run

_log = logging.getLogger("holdfast.worker")


class Orders:
    """Follows the coordinator.

    Args:
        held: All runs of the worker.
        backlog: Where new runs wait.
        executions: Where they are started and killed.
        people: Told what happens.

    Attributes:
        handlers: What to call for each kind of message.
    """

    def __init__(
        self, *, held: HeldRuns, backlog: Backlog, executions: Executions, people: People
    ) -> None:
        self._held = held
        self._backlog = backlog
        self._executions = executions
        self._people = people
        self.handlers: dict[type[Message], Callable[[Any], None]] = {
            Execute: self._accept,
            Recorded: self._recorded,
            Settled: self._settled,
            Resume: self._resume,
            Cancel: self._cancel,
            Stale: self._stale,
            Malformed: self._malformed,
        }

    def _accept(self, order: Execute) -> None:
        known = self._held.get(order.run)
        if known is not None:
            if known.generation >= order.generation:
                return  # said twice
            self._held.forget(known, kill=True)
        run = Run(
            order=order,
            generation=order.generation,
            attempt=order.attempt,
            has_journal=order.journal_length > 0,
            executed_before=order.attempt_executed_ms / 1000,
        )
        self._held.add(run)
        self._backlog.add(run)

    def _settled(self, message: Settled) -> None:
        run = self._held.current(message.run, message.generation)
        if run is None:
            return
        if message.outcome == "waiting":
            run.unanswered_since = None if run.result is None else run.unanswered_since
            return
        if message.outcome == "retry_here":
            if run.result is not None:  # else it was said twice: the next attempt is under way
                self._retry_here(run, message)
        elif message.outcome == "released":
            self._executions.let_go(run)
        else:
            self._held.forget(run, kill=run.result is None)

    def _recorded(self, message: Recorded) -> None:
        run = self._held.get(message.run)
        # under the generation before, when the run was resumed in the meantime
        if run is None or message.generation not in {run.generation, run.generation - 1}:
            return
        run.unrecorded = [each for each in run.unrecorded if each.seq > message.through]
        if run.process is not None:
            run.process.send({"op": "recorded", "run": run.id, "through": message.through})

    def _retry_here(self, run: Run, message: Settled) -> None:
        run.begin_again(message.attempt)
        loop = asyncio.get_running_loop()
        run.timer = loop.call_later(message.delay_ms / 1000, self._again, run)

    def _again(self, run: Run) -> None:
        """Start the next attempt of a run that has kept its place."""
        run.timer = None
        if run in self._held:
            self._executions.start(run)

    def _resume(self, message: Resume) -> None:
        run = self._held.get(message.run)
        if run is None or run.generation >= message.generation:
            return
        run.generation = message.generation
        run.suspended = run.unanswered_since = None
        if run.hold is not None:
            run.hold.cancel()
        if run.process is None:
            if run.result is None:  # a server of before takes nothing that has left
                self._executions.conclude(run, endings.process_ended(0, memory_kills=0))
            return
        run.process.send(run.to_resume(message))
        self._executions.arm_deadline(run)
        self._backlog.resumed()
        self._people.tell("resumed", run)
        if run.result is not None:  # it ended while it was suspended
            run.result = replace(run.result, generation=run.generation)
            self._held.report(run, run.result)

    def _cancel(self, message: Cancel) -> None:
        run = self._held.current(message.run, message.generation)
        if run is None or run.result is not None or run.cancel is not None:
            return
        run.cancel = message
        if run.process is not None:
            self._executions.cancel(run, message)
        elif self._backlog.withdraw(run):
            self._executions.conclude(run, endings.canceled(message.reason))

    def _stale(self, message: Stale) -> None:
        run = self._held.current(message.run, message.generation)
        if run is not None:
            self._held.forget(run, kill=True)

    def _malformed(self, message: Malformed) -> None:
        _log.error("the coordinator did not understand a message: %s", message.detail)
