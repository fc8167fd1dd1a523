"""What this process knows of a connected worker: enough to offer its free places."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from apps.core.ids import parse_public_id
from apps.runs.operations.claim import Offer
from apps.runs.operations.sessions import Opened
from holdfast.protocol import Execute, Held, Message, Resume, Settled, Stale


@dataclass(slots=True)
class Hold:
    """A run at a worker; a suspended one takes no place."""

    generation: int
    is_suspended: bool = False


@dataclass(slots=True)
class Seat:
    """One connected worker session."""

    session_id: UUID
    environment_id: UUID
    version_id: UUID
    machine: str
    capacity: int
    send: Callable[[list[Message]], None]
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
        )
        for held in opened.kept:
            # suspended or not is not known here; a resume or settlement will tell
            seat.holds[held.run] = Hold(held.generation)
        for message in opened.missed:
            seat.note(message)
        return seat

    @property
    def free(self) -> int:
        executing = sum(not hold.is_suspended for hold in self.holds.values())
        return max(0, self.capacity - executing)

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
            case Settled(outcome="waiting"):
                if hold := self.holds.get(message.run):
                    hold.is_suspended = True
            case Settled(outcome="retry_here"):
                pass
            case Settled() | Stale():
                # what is said about an earlier generation says nothing about the present one
                hold = self.holds.get(message.run)
                if hold and hold.generation == message.generation:
                    del self.holds[message.run]

    def beat(self, holding: list[Held]) -> dict[UUID, int]:
        """What the worker says it holds, by run; runs that it does not name it holds no more.

        Runs that are on their way to it are not among them yet, so nothing is forgotten here.
        """
        return {parse_public_id("run", held.run): held.generation for held in holding}
