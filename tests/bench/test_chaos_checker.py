"""The reader of the history after chaos finds each broken promise, and none where all were kept."""

from __future__ import annotations

import json
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from apps.core.ids import public_id
from bench.chaos.checker import History, overlaps, violations

FIRST, SECOND = UUID(int=1), UUID(int=2)
SESSION = uuid4()
LIMITS = {"environment": 2}


def run(run_id: UUID, number: int, **changes) -> dict[str, object]:
    return {
        "id": run_id,
        "task": "keyed",
        "status": "COMPLETED",
        "output": json.dumps({"json": number}),
        "payload": json.dumps({"json": {"number": number}}),
        "parent_id": None,
        "concurrency_key": "a",
        "schedule_id": None,
        **changes,
    }


def life(run_id: UUID) -> list[tuple[UUID, str, str]]:
    moves = [("triggered", "QUEUED"), ("dequeued", "DEQUEUED"), ("started", "EXECUTING")]
    return [(run_id, kind, status) for kind, status in [*moves, ("completed", "COMPLETED")]]


def effect(run_id: UUID, event: str, at: float, process: int = 1) -> dict[str, object]:
    return {"run": public_id("run", run_id), "event": event, "process": process, "at": at}


SOUND = History(
    runs={FIRST: run(FIRST, 1), SECOND: run(SECOND, 2)},
    events=[*life(FIRST), *life(SECOND)],
    attempts=[(FIRST, 1, 1, SESSION), (SECOND, 1, 1, SESSION)],
    effects=[
        effect(FIRST, "begin", 1.0), effect(FIRST, "end", 2.0),
        effect(SECOND, "begin", 3.0), effect(SECOND, "end", 4.0),
    ],
    deposits=[],
    schedules=[],
    ticks=[],
    broken=[],
)  # fmt: skip
ACCEPTED = {public_id("run", FIRST): 1, public_id("run", SECOND): 2}


def broken(history: History, *, accepted=ACCEPTED, peak: int = 2) -> list[str]:
    found = violations(history, accepted, {"environment": peak}, LIMITS)
    return [name for name, sentences in found.items() if sentences]


def test_nothing_is_found_in_a_sound_history():
    assert broken(SOUND) == []
    assert overlaps(SOUND) == 0


BROKEN = {
    "all that was accepted has ended": {"runs": {FIRST: run(FIRST, 1)}},
    "a request made at most one run": {"runs": {FIRST: run(FIRST, 1), SECOND: run(SECOND, 1)}},
    "each run ended once": {"events": [*SOUND.events, (SECOND, "completed", "COMPLETED")]},
    "runs moved only as they may": {"events": [*SOUND.events, (SECOND, "queued", "QUEUED")]},
    "one session per generation": {"attempts": [*SOUND.attempts, (FIRST, 2, 1, uuid4())]},
    "attempts are numbered one by one": {
        "attempts": [(FIRST, 1, 1, SESSION), (FIRST, 3, 2, SESSION)]
    },
    "results are their runs' own": {
        "runs": {**SOUND.runs, SECOND: run(SECOND, 2, output='{"json":1}')}
    },
    "what completed was carried out": {"effects": SOUND.effects[:2]},
    "each transaction step has its effect exactly once": {
        "runs": {**SOUND.runs, FIRST: run(FIRST, 1, task="ledger")}
    },
    "each tick made one run, and none is missing": {
        "ticks": [{"schedule_id": 1, "at": 1, "outcome": "TRIGGERED", "run_id": UUID(int=9)}]
    },
    "what must not overlap has not": {
        "runs": {each: run(each, each.int, task="lonely") for each in (FIRST, SECOND)},
        "events": [*life(FIRST)[:3], *life(SECOND), *life(FIRST)[3:]],
    },
    "keys are served in order": {"events": [*life(SECOND), *life(FIRST)]},
    "every invariant holds": {"broken": ["a final run holds a lease: 1"]},
}  # fmt: skip


@pytest.mark.parametrize("promise", BROKEN)
def test_a_broken_promise_is_found(promise):
    assert promise in broken(replace(SOUND, **BROKEN[promise]))


def test_every_promise_is_broken_here_or_below():
    promises = violations(SOUND, ACCEPTED, {"environment": 2}, LIMITS)
    assert promises.keys() - BROKEN.keys() == {"no limit was exceeded"}


def test_a_limit_that_was_exceeded_for_a_moment_is_found():
    assert broken(SOUND, peak=3) == ["no limit was exceeded"]


def test_an_accepted_run_that_is_nowhere_is_found():
    lost = {**ACCEPTED, public_id("run", UUID(int=3)): 3}
    assert broken(SOUND, accepted=lost) == ["all that was accepted has ended"]


def test_executions_that_overlap_are_counted():
    twice = [*SOUND.effects, effect(FIRST, "begin", 1.5, process=2)]
    assert overlaps(replace(SOUND, effects=twice)) == 1
