"""What workers report about runs, and what they are told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from apps.core.errors import DomainError
from apps.core.ids import parse_public_id, public_id
from apps.runs import policy
from apps.runs.errors import internal
from apps.runs.limits import limits
from holdfast.protocol import (
    Completed,
    Execute,
    Expected,
    Failed,
    Message,
    MetadataChanged,
    Rejected,
    Settled,
    Stale,
    Started,
    Steps,
    Suspended,
)

RunMessage = Started | Completed | Failed | Suspended | Steps | Rejected | MetadataChanged


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A message about a run, and the worker session that sent it."""

    session_id: UUID
    run_id: UUID
    message: RunMessage

    @property
    def may_end(self) -> bool:
        """Whether it may be the last that is heard of the run."""
        if isinstance(self.message, Steps):
            return policy.journal_problem(self.message.entries, limits()) is not None
        return not isinstance(self.message, Started | MetadataChanged)

    @property
    def waitpoint_ids(self) -> list[UUID]:
        """The waitpoints that it names, without those that cannot be."""
        return list(_waitpoint_ids(self.message)) if isinstance(self.message, Suspended) else []

    @property
    def times(self) -> dict[UUID, datetime]:
        """The waitpoints of its own making, and when they complete."""
        timed = self.message.times if isinstance(self.message, Suspended) else []
        due = {each.id: policy.moment(each.due_ms) for each in timed}
        return {identifier: due[name] for name, identifier in _parsed(due)}

    @property
    def inputs(self) -> list[tuple[UUID, Expected]]:
        """The items of inputs that it waits for, each with its id."""
        asked = self.message.inputs if isinstance(self.message, Suspended) else []
        named = {each.id: each for each in asked}
        return [(identifier, named[name]) for name, identifier in _parsed(named)]


def _waitpoint_ids(message: Suspended) -> Iterable[UUID]:
    return (identifier for _, identifier in _parsed(dict.fromkeys(message.waitpoints)))


def _parsed(names: Iterable[str]) -> Iterator[tuple[str, UUID]]:
    for name in names:
        try:
            yield name, parse_public_id("waitpoint", name)
        except DomainError:
            continue


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What to tell a worker session."""

    session_id: UUID
    message: Message

    def starts(self, run_id: UUID) -> bool:
        """Whether it hands this run out."""
        return isinstance(self.message, Execute) and self.message.run == public_id("run", run_id)


def stale(report: Report) -> Stale:
    return Stale(run=report.message.run, generation=report.message.generation)


def settled(
    report: Report, outcome: Literal["final", "requeued", "waiting", "released"]
) -> Settled:
    return Settled(run=report.message.run, generation=report.message.generation, outcome=outcome)


def try_again(report: Report, *, attempt: int, delay: timedelta) -> Settled:
    """Have the worker start the next attempt itself."""
    return Settled(
        run=report.message.run,
        generation=report.message.generation,
        outcome="retry_here",
        attempt=attempt,
        delay_ms=int(delay.total_seconds() * 1000),
    )


def as_failure(report: Report, problem: str) -> Report | None:
    """What to report instead of something that cannot be settled, so that its run ends."""
    message = report.message
    if isinstance(message, Started | MetadataChanged):
        return None
    attempt = limits().attempts_per_run  # whichever it is at
    if isinstance(message, Completed | Failed):
        attempt = message.attempt
    text = f"what its worker reported could not be kept: {policy.storable(problem)[:1_000]}"
    failure = Failed(
        run=message.run,
        generation=message.generation,
        attempt=attempt,
        outcome="system_failure",
        error=internal("TASK_EXECUTION_FAILED", text),
    )
    return Report(session_id=report.session_id, run_id=report.run_id, message=failure)
