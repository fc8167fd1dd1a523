"""What the model knows of runs, of what they wait for, and of who works on them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from apps.runs.states import RunStatus
from holdfast.protocol import Execute

ENVIRONMENT_LIMIT = 4
WORKERS = 2


@dataclass(frozen=True, slots=True)
class Caps:
    """How many runs of a queue may execute at once: of each key, and of all together."""

    per_key: int | None = None
    total: int | None = None


QUEUES = {"plain": Caps(), "three": Caps(3), "keyed": Caps(1), "whole": Caps(2, 3)}

Q, DELAYED, DEQUEUED, EXECUTING, WAITING, CANCELED, COMPLETED, EXPIRED, CRASHED = (
    RunStatus.QUEUED,
    RunStatus.DELAYED,
    RunStatus.DEQUEUED,
    RunStatus.EXECUTING,
    RunStatus.WAITING,
    RunStatus.CANCELED,
    RunStatus.COMPLETED,
    RunStatus.EXPIRED,
    RunStatus.CRASHED,
)


@dataclass(slots=True)
class Step:
    """An entry of a journal: what came of it, and the latest entry that was known before."""

    output: str
    after: int


@dataclass(slots=True)
class Point:
    """Something that runs wait for; `ok` is None while it has not happened.

    The end of the run `ends` is known by that run. An item is the `seq`-th of its run and key.
    """

    due_at: datetime | None = None
    ends: UUID | None = None
    item: tuple[UUID, str, int] | None = None
    is_time: bool = False
    is_token: bool = False
    ok: bool | None = None
    output: str | None = None


@dataclass(slots=True)
class Waiting:
    """What a run waits for, or has waited for."""

    points: list[UUID]
    needs_all: bool


@dataclass(slots=True)
class Known:
    """What the model knows of a run.

    Its `place` in the line is known until it is handed out for the first time. One that `has_left`
    its worker is the journal and what it waits for, until it starts again. One that `is_stopping`
    has been told to stop, and gets no more children.
    """

    status: RunStatus
    queue: str
    key: str | None
    place: datetime | None = None
    owned_key: str | None = None
    children: list[UUID] = field(default_factory=list)
    parent: UUID | None = None
    generation: int = 0
    attempt: int = 0
    journal: dict[int, Step] = field(default_factory=dict)
    wait: Waiting | None = None
    has_left: bool = False
    is_stopping: bool = False

    @property
    def lane(self) -> tuple[str, str]:
        return self.queue, self.key or ""

    def forget(self, seq: int) -> None:
        """What failed is done again, and what was called when that was known."""
        self.journal = {
            n: step for n, step in self.journal.items() if n != seq and step.after < seq
        }


@dataclass(slots=True)
class Held:
    """What a worker believes of a run: the order it works on, and whether it has begun."""

    work: Execute
    generation: int
    is_started: bool = False
    is_suspended: bool = False
    is_told_to_stop: bool = False

    @property
    def now(self) -> Execute:
        """The order under the generation that it has by now."""
        return self._order(generation=self.generation)

    def next_attempt(self, attempt: int) -> None:
        """The process stays, and begins once more."""
        self.is_started = False
        self.work = self._order(attempt=attempt)

    def _order(self, **changes: Any) -> Execute:
        names = ("run", "generation", "attempt", "max_attempts", "task")
        given = {name: getattr(self.work, name) for name in names} | changes
        return Execute(**given, payload=None, payload_type="", context={})


def startable(held: Held) -> bool:
    return not held.is_started and not held.is_told_to_stop


def executing(held: Held) -> bool:
    return held.is_started and not held.is_suspended


def free(held: Held) -> bool:
    return executing(held) and not held.is_told_to_stop


def asleep(held: Held) -> bool:
    return held.is_suspended and not held.is_told_to_stop


def stoppable(held: Held) -> bool:
    return held.is_told_to_stop and not held.is_suspended
