"""What this process knows of a connected worker: enough to offer its free places."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from uuid import UUID

from apps.core.ids import public_id
from apps.runs.operations.claim import Offer
from apps.runs.operations.sessions import Kept, Opened, generations
from holdfast.protocol import Execute, Held, Message, Resume, Settled, Stale

_MOST_UNNAMED = 3


@dataclass(slots=True)
class Hold:
    """A run at a worker; a suspended one takes no place."""

    generation: int
    is_suspended: bool = False
    unnamed: int = 0  # the beats in a row that have not named it


@dataclass(slots=True)
class Seat:
    """One connected worker session."""

    session_id: UUID
    environment_id: UUID
    version_id: UUID
    machine: str
    capacity: int
    send: Callable[[list[Message]], None]
    can_freeze: bool = False
    kept_free: int = 0  # places that a trigger is about to fill
    holds: dict[str, Hold] = field(default_factory=dict)

    @classmethod
    def of(cls, opened: Opened, send: Callable[[list[Message]], None]) -> Seat:
        """A seat for a session that was just opened, with the runs that it still holds."""
        seat = cls(
            session_id=opened.session_id,
            environment_id=opened.environment_id,
            version_id=opened.version_id,
            machine=opened.machine,
            capacity=opened.capacity,
            send=send,
            can_freeze=opened.can_freeze,
        )
        seat.confirm(opened.kept)
        return seat

    @property
    def free(self) -> int:
        # a copy: a trigger asks on a thread of its own
        executing = sum(not hold.is_suspended for hold in list(self.holds.values()))
        return max(0, self.capacity - executing - self.kept_free)

    def can_take(self, environment_id: UUID) -> bool:
        """Whether it has a free place for a run of this environment."""
        return self.environment_id == environment_id and self.free > 0

    @property
    def offer(self) -> Offer:
        return Offer(
            session_id=self.session_id,
            environment_id=self.environment_id,
            version_id=self.version_id,
            machine=self.machine,
            free=self.free,
            holds_suspended=any(hold.is_suspended for hold in self.holds.values()),
        )

    def note(self, message: Message) -> None:
        """Keep up with what this worker is being told."""
        match message:
            case Execute() | Resume():
                self.holds[message.run] = Hold(message.generation)
            case Settled(outcome="retry_here"):
                pass
            case Settled() | Stale():
                # what is said about an earlier generation says nothing about the present one
                hold = self.holds.get(message.run)
                if hold is None or hold.generation != message.generation:
                    return
                if isinstance(message, Settled) and message.outcome == "waiting":
                    hold.is_suspended = True
                else:
                    del self.holds[message.run]

    def beat(self, holding: list[Held]) -> dict[UUID, int]:
        """What the worker says it holds, by run.

        A run that is on its way to it is not among them yet; one that it does not name beat after
        beat it does not have, whatever became of the message that would have told.
        """
        named = {held.run for held in holding}
        for run, hold in list(self.holds.items()):
            hold.unnamed = 0 if run in named else hold.unnamed + 1
            if hold.unnamed >= _MOST_UNNAMED:
                del self.holds[run]
        return generations(holding)

    def confirm(self, kept: Iterable[Kept]) -> None:
        """Be in line with the leases of what the worker says it holds."""
        for lease in kept:
            run = public_id("run", lease.run_id)
            unnamed = self.holds[run].unnamed if run in self.holds else 0
            self.holds[run] = Hold(lease.generation, lease.is_suspended, unnamed)
