"""What a process knows of a worker: how many places are free, whatever was lost on the way."""

from __future__ import annotations

from uuid import uuid4

import pytest

from apps.coordinator.seats import Seat
from apps.core.errors import NotFound
from apps.core.ids import new_id, public_id
from apps.runs.operations.sessions import Kept, Opened
from holdfast.protocol import Execute, Held, Resume, Settled, Stale

RUN_ID = new_id()
RUN = public_id("run", RUN_ID)


def seat(*kept: Kept, capacity: int = 2) -> Seat:
    opened = Opened(
        session_id=uuid4(), environment_id=uuid4(), version_id=uuid4(), machine="",
        capacity=capacity, kept=kept,
    )  # fmt: skip
    return Seat.of(opened, lambda messages: None)


def execute(run: str = RUN, generation: int = 1) -> Execute:
    return Execute(
        run=run, generation=generation, attempt=1, max_attempts=3, task="hello", payload=None,
        payload_type="application/json", context={},
    )  # fmt: skip


def settled(outcome, generation: int = 1) -> Settled:
    return Settled(run=RUN, generation=generation, outcome=outcome)


@pytest.mark.parametrize(
    ("told", "free"),
    [
        ([], 2),
        ([execute()], 1),
        ([execute(), execute(generation=2)], 1),
        ([execute(), settled("final")], 2),
        ([execute(), settled("requeued")], 2),
        ([execute(), settled("retry_here")], 1),
        ([execute(), settled("waiting")], 2),
        ([execute(), settled("waiting"), settled("final")], 2),
        ([execute(), Stale(run=RUN, generation=1)], 2),
        ([execute(generation=2), Stale(run=RUN, generation=1)], 1),
        ([execute(generation=2), settled("final")], 1),
        ([settled("final"), Stale(run=RUN, generation=1)], 2),
        (
            [
                execute(),
                settled("waiting"),
                Resume(run=RUN, generation=2, previous=1, results=[]),
            ],
            1,
        ),
    ],
)
def test_places_follow_what_the_worker_is_told(told, free):
    one = seat()
    for message in told:
        one.note(message)
    assert one.free == free


def test_places_are_never_less_than_none():
    one = seat(capacity=1)
    for run_id in (new_id(), new_id()):
        one.note(execute(public_id("run", run_id)))
    assert one.free == 0


def test_a_worker_that_comes_back_has_places_for_what_it_does_not_execute():
    one = seat(
        Kept(run_id=RUN_ID, generation=3, is_suspended=False),
        Kept(run_id=new_id(), generation=1, is_suspended=True),
    )
    assert (one.free, one.offer.holds_suspended, one.holds[RUN].generation) == (1, True, 3)


def test_a_run_that_beat_after_beat_is_not_named_is_not_there():
    one = seat()
    one.note(execute())
    frees = []
    for _ in range(3):
        one.beat([])
        frees.append(one.free)
    assert frees == [1, 1, 2]


def test_a_run_that_is_named_in_between_is_there():
    one = seat()
    one.note(execute())
    for holding in ([], [], [Held(run=RUN, generation=1)], [], []):
        one.beat(holding)
        one.confirm([])
    assert one.free == 1


def test_what_the_leases_say_counts():
    one = seat()
    one.note(execute())
    one.confirm([Kept(run_id=RUN_ID, generation=2, is_suspended=True)])
    assert (one.free, one.holds[RUN].generation) == (2, 2)
    one.confirm([Kept(run_id=new_id(), generation=1, is_suspended=False)])
    assert one.free == 1


def test_a_beat_names_runs():
    assert seat().beat([Held(run=RUN, generation=4)]) == {RUN_ID: 4}
    with pytest.raises(NotFound):
        seat().beat([Held(run="nonsense", generation=1)])
