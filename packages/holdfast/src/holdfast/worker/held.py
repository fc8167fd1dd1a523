"""The runs that a worker answers for, and what the server has still to hear or to answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

from holdfast.protocol import Completed, Failed, Held, Rejected, Steps, Suspended
from holdfast.worker.connection import Connection
from holdfast.worker.run import Run

_REMIND_SECONDS = 30.0
"""How long the server may take to answer a report before it is repeated."""


class HeldRuns:
    """The runs by their ids.

    Args:
        connection: Where reports go.
        on_empty: Called when the last run was forgotten.

    Attributes:
        leaving: How many processes are about to leave runs that are held no more.
        withdraw: Called with a run that is held no more before it has begun.
    """

    def __init__(self, connection: Connection, *, on_empty: Callable[[], None]) -> None:
        self._connection = connection
        self._on_empty = on_empty
        self._by_id: dict[str, Run] = {}
        self._begun: set[Run] = set()
        self._are_any = asyncio.Event()
        self.leaving = 0
        self.withdraw: Callable[[Run], object] = lambda _run: None

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Run]:
        """Those of this moment; they may be forgotten on the way."""
        return iter(list(self._by_id.values()))

    def __contains__(self, run: Run) -> bool:
        """Whether it is held, and not another of the same id."""
        return self._by_id.get(run.id) is run

    def at_work(self) -> int:
        """How many take a place; asked often, while many more are held."""
        self._begun = {run for run in self._begun if run.process is not None}
        return sum(1 for run in self._begun if run.takes_place)

    def begun(self, run: Run) -> None:
        """It has a process now."""
        self._begun.add(run)

    def add(self, run: Run) -> None:
        """Answer for a run from now on."""
        self._by_id[run.id] = run
        self._are_any.set()

    async def wait_for_any(self) -> None:
        """Return as soon as a run is held."""
        await self._are_any.wait()

    def get(self, run: str) -> Run | None:
        """The run of this id in whatever generation."""
        return self._by_id.get(run)

    def __getitem__(self, run: str) -> Run:
        return self._by_id[run]

    def current(self, run: str, generation: int) -> Run | None:
        """The run of this id, if the message that names it is about the present generation."""
        held = self._by_id.get(run)
        return held if held is not None and held.generation == generation else None

    def to_wire(self) -> list[Held]:
        """All of them, as beats and greetings name them."""
        return [Held(run=run.id, generation=run.generation) for run in self._by_id.values()]

    def forget(self, run: Run, *, kill: bool) -> None:
        """The run is not this worker's any more."""
        run.disarm()
        if run in self:
            del self._by_id[run.id]
        if kill and run.process is not None:
            run.process.kill()
        elif kill:
            self.withdraw(run)
        run.process = None
        if not self._by_id:
            self._are_any.clear()
            self._on_empty()

    def report(self, run: Run, report: Completed | Failed | Rejected | Suspended) -> None:
        """Send what the server has to answer."""
        run.unanswered_since = time.monotonic()
        self._connection.send(report)

    def say_again(self, run: Run) -> None:
        """Repeat what the server may not have heard on the connection before."""
        if run.is_started:
            self._connection.send(run.started)
        if run.unrecorded:
            self._connection.send(
                Steps(run=run.id, generation=run.generation, entries=list(run.unrecorded))
            )
        if run.result is not None:
            self.report(run, run.result)
        elif run.suspended is not None:
            self.report(run, run.suspended)

    def remind(self, run: Run, now: float) -> None:
        """Repeat a report that has had no answer for long; the server may hear it twice."""
        since = run.unanswered_since
        if since is not None and now - since > _REMIND_SECONDS and self._connection.is_up:
            self.say_again(run)
