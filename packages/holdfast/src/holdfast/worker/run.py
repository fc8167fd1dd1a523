"""A run that a worker holds: what was ordered, how far it has come, and how that is said."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, replace
from typing import Any

from holdfast.protocol import (
    Cancel,
    Completed,
    Entry,
    Execute,
    Failed,
    Rejected,
    Resume,
    Started,
    Suspended,
    fields_of,
)
from holdfast.worker.endings import Verdict
from holdfast.worker.frames import Frame
from holdfast.worker.pool import TaskProcess
from holdfast.worker.processors import CpuWatch
from holdfast.worker.tracing import Trace


@dataclass(slots=True, kw_only=True, eq=False)
class Run:
    """A run that this worker holds."""

    order: Execute
    generation: int
    attempt: int
    process: TaskProcess | None = None
    started_at: float = 0.0
    is_started: bool = False
    suspended: Suspended | None = None
    resumes: int = 0
    result: Completed | Failed | Rejected | None = None
    verdict: Verdict | None = None
    cancel: Cancel | None = None
    timer: asyncio.TimerHandle | None = None
    deadline: asyncio.TimerHandle | None = None
    hold: asyncio.TimerHandle | None = None
    unrecorded: list[Entry] = field(default_factory=list)
    has_journal: bool = False
    executed_before: float = 0.0
    taken_at: float = field(default_factory=time.monotonic)
    unanswered_since: float | None = None
    trace: Trace | None = None
    started_ns: int = 0
    cpus: CpuWatch | None = None

    @property
    def id(self) -> str:
        return self.order.run

    @property
    def started(self) -> Started:
        """What the server is told of its start."""
        warm = self.process is not None and self.process.runs > 1
        return Started(run=self.id, generation=self.generation, attempt=self.attempt, warm=warm)

    @property
    def takes_place(self) -> bool:
        """Whether its process is at work, or about to be free, and not only kept."""
        is_kept = self.suspended is not None and not self.suspended.release
        return self.process is not None and not is_kept

    def disarm(self) -> None:
        """Stop its timers."""
        for handle in (self.timer, self.deadline, self.hold):
            if handle is not None:
                handle.cancel()
        self.timer = self.deadline = self.hold = None

    def begin_again(self, attempt: int | None) -> None:
        """Forget how the attempt before went; the next one keeps the run's place."""
        self.result = self.suspended = self.verdict = self.unanswered_since = None
        self.is_started, self.executed_before, self.resumes = False, 0.0, 0
        self.attempt = attempt or self.attempt + 1
        # what the attempt before has recorded, and what its failure takes back, the server knows
        length = 1 if self.has_journal else 0
        self.order = replace(
            self.order,
            is_resumed=False,
            attempt_executed_ms=0,
            journal=[],
            journal_length=length,
            results=[],
        )

    def to_execute(self, traceparent: str, **fields: Any) -> Frame:
        """The order to a task process to execute it, with what the process has to know more."""
        order = self.order
        return {
            **fields,
            "op": "run",
            "run": self.id,
            "task": order.task,
            "payload": order.payload,
            "payload_type": order.payload_type,
            "context": self._context(),
            "max_attempts": order.max_attempts,
            "max_duration": order.max_duration_seconds,
            "metadata": order.metadata,
            "traceparent": traceparent,
            "is_resumed": order.is_resumed,
            "executed_before": order.attempt_executed_ms / 1000,
            "journal": [fields_of(entry) for entry in order.journal],
            "journal_length": order.journal_length,
            "results": [fields_of(result) for result in order.results],
        }

    def to_resume(self, message: Resume) -> Frame:
        """The order to its task process to go on after a wait."""
        self.resumes += 1
        return {
            "op": "resume",
            "run": self.id,
            "results": [fields_of(result) for result in message.results],
        }

    def _context(self) -> dict[str, Any]:
        """The context of the attempt that starts now; a retry here is not in the server's order."""
        context = self.order.context
        attempt = {**(context.get("attempt") or {}), "number": self.attempt}
        return {**context, "attempt": attempt}
