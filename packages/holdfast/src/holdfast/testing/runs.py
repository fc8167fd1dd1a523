"""Runs as a bench shows them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from holdfast.client.triggers import TriggerOptions
from holdfast.errors import ChildRunFailed
from holdfast.protocol import Entry
from holdfast.testing.history import History

FINAL = frozenset(
    {"COMPLETED", "FAILED", "CANCELED", "CRASHED", "SYSTEM_FAILURE", "EXPIRED", "TIMED_OUT"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchAttempt:
    """An attempt that has ended.

    Attributes:
        number: From 1.
        started_at: By the bench's clock.
        ended_at: By the bench's clock.
        ending: ``completed``, ``failed``, ``crashed``, ``timed_out`` or ``canceled``.
        error: In the wire contract's form, unless completed.
    """

    number: int
    started_at: datetime
    ended_at: datetime
    ending: str
    error: dict[str, Any] | None


@dataclass(slots=True, kw_only=True, eq=False)
class BenchRun:
    """A run on a bench.

    Attributes:
        id: Its id.
        task: Its task's id.
        status: As the product names it: ``DELAYED``, ``QUEUED``, ``EXECUTING``, ``WAITING``,
            ``PENDING_VERSION`` (no such task), or a final one.
        payload: The payload as it was given.
        options: The options that it was triggered with.
        created_at: When it was triggered, by the bench's clock.
        finished_at: When it ended.
        output: What it returned, as it would arrive: after encoding and decoding.
        error: Why it did not return, in the wire contract's form.
        attempts: The attempts that have ended.
        metadata: Its metadata.
        tags: Its tags.
        logs: What it logged: maps with `level`, `message`, `attributes`.
        parent: The run that triggered it.
        children: The runs that it triggered.
        journal: What a durable run has recorded, in order.
        evictions: How often it was let go of while it waited.
    """

    id: str
    task: str
    payload: Any
    options: TriggerOptions
    created_at: datetime
    status: str = "QUEUED"
    finished_at: datetime | None = None
    output: Any = None
    error: dict[str, Any] | None = None
    attempts: list[BenchAttempt] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)
    logs: list[dict[str, Any]] = field(default_factory=list)
    parent: BenchRun | None = None
    children: list[BenchRun] = field(default_factory=list)
    journal: list[Entry] = field(default_factory=list)
    evictions: int = 0

    @property
    def is_final(self) -> bool:
        """Whether nothing will change any more."""
        return self.status in FINAL

    @property
    def messages(self) -> list[str]:
        """The text of what it logged."""
        return [record["message"] for record in self.logs]

    @property
    def steps(self) -> list[str]:
        """The names of the steps that it has recorded, in order."""
        return [entry.name for entry in self.journal if entry.kind == "step"]

    def history(self) -> History:
        """What a durable run has done, to be kept as a file and replayed with later code."""
        return History.taken(
            run=self.id,
            task=self.task,
            status=self.status,
            payload=self.payload,
            journal=tuple(self.journal),
        )

    def result(self) -> Any:
        """What it returned.

        Raises:
            ChildRunFailed: It did not complete.
        """
        if self.status != "COMPLETED":
            raise ChildRunFailed(run_id=self.id, task_id=self.task, error=self.error)
        return self.output
