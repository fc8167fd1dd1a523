"""What time does, and the engine with it: also one whose clock is slow."""

from __future__ import annotations

from datetime import datetime, timedelta

from hypothesis import strategies as st
from hypothesis.stateful import rule

from apps.runs.operations import duties
from apps.runs.operations.waitpoints import forget_waitpoints
from apps.runs.states import RunStatus
from tests.runs.model.floor import Floor
from tests.runs.model.known import (
    CANCELED,
    CRASHED,
    DELAYED,
    EXPIRED,
    Known,
    Q,
)

_LOST = {Q, DELAYED, CANCELED, CRASHED, RunStatus.SYSTEM_FAILURE}
_HOUSEKEEPING = (
    duties.release_pending, duties.adopt_queues, duties.forget_keys, forget_waitpoints,
    duties.close_queues, duties.forget_lanes, duties.lapse_overrides,
)  # fmt: skip


class Clocks(Floor):
    """Rules for time and for the engine's duties."""

    @rule(seconds=st.sampled_from([1, 8, 16, 35, 70]))
    def wait(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule()
    def work_of_the_engine(self) -> None:
        self.looked_at = self.now
        self._duties(self.now)

    @rule(seconds=st.sampled_from([30, 3600]))
    def an_engine_whose_clock_is_slow(self, seconds: int) -> None:
        self._duties(self.now - timedelta(seconds=seconds))

    @rule()
    def an_engine_that_tidies_up(self) -> None:
        """Nothing that lives is touched."""
        for duty in _HOUSEKEEPING:
            duty(self.now)

    def _duties(self, now: datetime) -> None:
        for run_id, known in self.runs.items():
            self._expect(run_id, {known.status} | self._may_become(known))
        self._look(now)
        for duty in duties.FAST:
            duty(now)

    def _may_become(self, known: Known) -> set[RunStatus]:
        """What time may make of a run; whoever waits is woken as the model says."""
        match known.status:
            case RunStatus.DEQUEUED | RunStatus.EXECUTING:
                return _LOST
            case RunStatus.WAITING:
                return set() if known.has_left else _LOST - {Q}
            case RunStatus.DELAYED:
                return {Q, EXPIRED}
            case RunStatus.QUEUED:
                return {EXPIRED, CRASHED, DELAYED}
        return set()
