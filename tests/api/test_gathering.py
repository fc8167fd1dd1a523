"""Calls that arrive while others are being answered are answered together."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from apps.api.gathering import Gathering

_PATIENCE = 60


class Desk:
    """Answers a group when it is let go on, and remembers which groups there were."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.may_go_on = threading.Event()

    def answer_all(self, calls: Sequence[str]) -> list[str]:
        self.groups.append(list(calls))
        assert self.may_go_on.wait(_PATIENCE)
        if "bad" in calls:
            raise ValueError(f"cannot answer {calls}")
        return [call.upper() for call in calls]


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def gathering(desk) -> Gathering[str, str]:
    return Gathering(desk.answer_all, name="test")


async def asked(gathering: Gathering[str, str], *calls: str) -> list[asyncio.Task[str]]:
    """Calls that have been made and wait for their answers."""
    made = [asyncio.ensure_future(gathering.answer(call)) for call in calls]
    await asyncio.sleep(0)  # each takes its place in the line
    return made


async def test_a_call_on_an_idle_process_is_answered_at_once_and_alone(gathering, desk):
    desk.may_go_on.set()

    assert await gathering.answer("a") == "A"
    assert await gathering.answer("b") == "B"
    assert desk.groups == [["a"], ["b"]]


async def test_calls_that_arrive_meanwhile_are_one_group(gathering, desk):
    calls = await asked(gathering, "a", "b", "c", "d", "e")
    desk.may_go_on.set()

    assert await asyncio.gather(*calls) == ["A", "B", "C", "D", "E"]
    assert sorted(map(len, desk.groups)) == [1, 1, 3]
    assert ["c", "d", "e"] in desk.groups


async def test_a_failure_fails_its_group_and_no_other(gathering, desk):
    calls = await asked(gathering, "a", "bad", "b", "c")
    desk.may_go_on.set()

    answers = await asyncio.gather(*calls, return_exceptions=True)

    assert [answers[0], *answers[2:]] == ["A", "B", "C"]
    assert isinstance(answers[1], ValueError)


async def test_a_caller_who_left_leaves_the_others_their_answers(gathering, desk):
    calls = await asked(gathering, "a", "b", "c", "d")
    calls[2].cancel()
    desk.may_go_on.set()

    answers = await asyncio.gather(*calls, return_exceptions=True)

    assert isinstance(answers[2], asyncio.CancelledError)
    assert (answers[0], answers[1], answers[3]) == ("A", "B", "D")
