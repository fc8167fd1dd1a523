"""Any two things that may be done with one run, wherever it stands, a moment before each other.

The named scenes beside this say what must come of pairs that need thought. Here every pair is
played, and what holds of all is asked: the engine is sound, no deadlock had to be broken up, what
was answered stays true, and the run ends once.
"""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from apps.runs import operations
from apps.runs.models import RunEvent
from apps.runs.operations import bulk
from apps.runs.states import FINAL
from tests.runs.engine import later, unsound
from tests.runs.meetings import Shop
from tests.runs.moves import LATE, MOVES, Move, Stage, carry_on, tried
from tests.runs.threads import one_before_other

# Usually each move meets those that follow it in its list, in one order; all meet all, both ways,
# when this is asked for.
_USUAL = 3  # itself and the next two
ALL = bool(os.environ.get("HOLDFAST_TEST_ALL"))


@pytest.fixture(autouse=True)
def today(monkeypatch):
    """Bulk actions compare ids, which are made by the real clock, with the tests' own time."""
    monkeypatch.setattr(bulk, "DEFAULT_PERIOD", timedelta(days=3_650))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("place", MOVES, ids=lambda place: place.__name__)
def test_any_two_moves_of_one_run_leave_the_engine_sound(place, deadlocks):
    shop, moves = Shop(), MOVES[place]
    for first in moves:
        for second in moves if ALL else _next_ones(first, moves):
            _meet(place(shop), first, second)
            assert deadlocks == [], f"{first.name} and {second.name}"


def _next_ones(first: Move, moves: Sequence[Move]) -> list[Move]:
    at = moves.index(first)
    return [moves[(at + step) % len(moves)] for step in range(_USUAL)]


def _meet(stage: Stage, first: Move, second: Move) -> None:
    """The second begins while the first has done all its work, but has not committed."""
    (one, kept_by_one), (other, kept_by_other) = first.prepare(stage), second.prepare(stage)
    mine, theirs = one_before_other(tried(one), tried(other))
    what = f"{first.name} and {second.name}"
    assert unsound(now=later(LATE)) == [], what
    carry_on(stage)
    assert unsound(now=later(LATE)) == [], what
    for kept, answer in ((kept_by_one, mine), (kept_by_other, theirs)):
        assert answer is None or kept(answer), f"of {what} one answer is not true: {answer}"
    ends = RunEvent.objects.filter(kind__in=[status.lower() for status in FINAL])
    assert set(Counter(ends.values_list("run_id", flat=True)).values()) == {1}, what


# -- What is played at all -----------------------------------------------------------------------

_APART = "it is of no run"
_OLD = "it touches only what has been over for long, and skips what is locked"
NOT_PLAYED = {
    "abandon_batches": _OLD,
    "abort_bulk_action": "it stops later steps of an action; each step is a transaction of its own",
    "adopt_queues": "it is apply_queues, for all environments",
    "close_queues": "it skips what is locked; test_lanes plays it against triggers",
    "forget_bulk_actions": _OLD,
    "forget_keys": _OLD,
    "forget_lanes": "it skips what is locked; test_lanes plays it against triggers",
    "forget_waitpoints": _OLD,
    "lapse_overrides": _APART,
    "open_session": "a worker says nothing else before it is welcome; test_sessions plays it",
    "places_at_hand": "it looks for places before any transaction; test_at_hand plays it",
    "prepare": "only of a worker that is silent; tests/coordinator/test_freezing plays it",
    "wake_more": "it goes on with what an end has begun, and skips what is locked",
}


def _public() -> Iterator[tuple[str, Callable[..., Any]]]:
    """The operations that are transactions of their own, by name."""
    for module in pkgutil.iter_modules(operations.__path__):
        found = importlib.import_module(f"{operations.__name__}.{module.name}")
        for name, value in inspect.getmembers(found, inspect.isfunction):
            is_here = value.__module__ == found.__name__ and not name.startswith("_")
            if is_here and hasattr(value, "__wrapped__"):
                yield name, value


def test_every_operation_is_in_a_pair_or_it_is_said_why_not():
    scenes = Path(__file__).parent.glob("test_interleavings*.py")
    told = " ".join(path.read_text() for path in scenes if path != Path(__file__))
    played = {each.__name__ for moves in MOVES.values() for move in moves for each in move.calls}
    missing = {
        name for name, _ in _public() if name not in played and f"{name}(" not in told
    }  # fmt: skip
    assert missing <= set(NOT_PLAYED), "these meet nothing, and nobody says why"
