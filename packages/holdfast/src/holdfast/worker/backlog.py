"""The places of a worker: which runs wait for one, and how many more runs to ask for."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

from holdfast.protocol import Capacity, Rejected
from holdfast.worker.connection import Connection
from holdfast.worker.held import HeldRuns
from holdfast.worker.pace import PATIENCE_SECONDS, Pace
from holdfast.worker.run import Run
from holdfast.worker.tray import Tray


class Backlog:
    """Runs that were taken and have no place yet.

    Args:
        capacity: How many runs execute at once.
        held: All runs of the worker.
        connection: Where the coordinator is told how many runs to send.
        tray: Where runs lie that have no place.
        start: Starts a run that has got a place.
        lay: Lays a run on the tray; False when that is full, or not for such a run.

    Attributes:
        is_ready: Whether runs can be started.
        is_draining: Whether nothing new is taken.
        tray: Where processes take the next run by themselves.
    """

    def __init__(
        self,
        *,
        capacity: int,
        held: HeldRuns,
        connection: Connection,
        tray: Tray,
        start: Callable[[Run], None],
        lay: Callable[[Run], bool],
    ) -> None:
        self.is_ready = False
        self.is_draining = False
        self._capacity = capacity
        self._held = held
        self._connection = connection
        self.tray = tray
        self._start = start
        self._lay = lay
        self._waiting: deque[Run] = deque()
        self._pace = Pace(capacity)
        self._offered = 0

    def add(self, run: Run) -> None:
        """Let a run wait for a place, which it may get at once."""
        self._waiting.append(run)
        if len(self._waiting) == 1:  # else there was no room for those before it
            self.dispatch()

    def dispatch(self) -> None:
        """Start as many of the waiting runs as there are places; lay the others on the tray."""
        if not self.is_ready or not (self._waiting or self.tray):
            return
        room = self._room
        while room > 0 and (run := self._next()) is not None:
            self._start(run)
            room -= 1
        while room == 0 and self._waiting and self._lay(self._waiting[0]):
            self._waiting.popleft()

    def resumed(self) -> None:
        """A run goes on in the process it has kept: no other may be begun in its place."""
        if self.tray and self._room < 0:
            self.recall()

    def recall(self) -> None:
        """Take back what lies on the tray."""
        self.put_back(list(self.tray.take_all()))

    def put_back(self, runs: Sequence[Run]) -> None:
        """Let runs wait here again, before all others."""
        self._waiting.extendleft(reversed(runs))

    def withdraw(self, run: Run) -> bool:
        """Let a run wait no longer; False when a process has it, and is about to say so."""
        if run not in self.tray:
            return True
        self.recall()
        if run in self.tray:
            return False
        self._waiting.remove(run)
        return True

    def give_back(self) -> None:
        """Return the runs that have waited here too long for a place."""
        before = time.monotonic() - PATIENCE_SECONDS
        oldest = self.tray.oldest
        if oldest is not None and oldest.taken_at < before:
            self.recall()
        while self.is_ready and self._waiting and self._waiting[0].taken_at < before:
            run = self._waiting.popleft()
            if run in self._held and run.result is None:
                reason = "the worker took it ahead, and then runs became longer"
                run.result = Rejected(
                    run=run.id, generation=run.generation, reason=reason, is_fault=False
                )
                self._held.report(run, run.result)
        self.dispatch()

    def ended(self, seconds: float) -> None:
        """A run has left its place after so long: ask for more, and start the next."""
        self._pace.record(seconds)
        self.offer()
        self.dispatch()

    def offer(self) -> None:
        """Tell the coordinator how many runs to send, when that has changed."""
        if self._slots != self._offered:
            self._connection.send(Capacity(slots=self.offered_anew()))

    def offered_anew(self) -> int:
        """How many runs to send, for a message that is about to say so."""
        self._offered = self._slots
        return self._offered

    def _next(self) -> Run | None:
        """The next that may start: those on the tray have waited for longer."""
        while (run := self.tray.take()) is not None or self._waiting:
            run = run or self._waiting.popleft()
            if run in self._held and run.result is None:
                return run
        return None

    @property
    def _room(self) -> int:
        return self._capacity - self._held.leaving - self._held.at_work()

    @property
    def _slots(self) -> int:
        is_open = self.is_ready and not self.is_draining
        return self._capacity * self._pace.ahead if is_open else 0
