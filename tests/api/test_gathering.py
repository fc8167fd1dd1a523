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
        self._begun = threading.Semaphore(0)

    def answer_all(self, calls: Sequence[str]) -> list[str]:
        self.groups.append(list(calls))
        self._begun.release()
        assert self.may_go_on.wait(_PATIENCE)
        if "bad" in calls:
            raise ValueError(f"cannot answer {calls}")
        return [call.upper() for call in calls]

    def wait_for_groups(self, count: int) -> None:
        for _ in range(count):
            assert self._begun.acquire(timeout=_PATIENCE)


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def gathering(desk) -> Gathering[str, str]:
    return Gathering(desk.answer_all, name="test")


async def asked(gathering: Gathering[str, str], *calls: str) -> list[asyncio.Future[str]]:
    """Calls that have been made and wait for their answers."""
    return [gathering.answer(call) for call in calls]


async def test_a_call_on_an_idle_process_is_answered_at_once_and_alone(gathering, desk):
    desk.may_go_on.set()

    assert await gathering.answer("a") == "A"
    assert await gathering.answer("b") == "B"
    assert desk.groups == [["a"], ["b"]]


async def test_calls_that_arrive_meanwhile_are_one_group(gathering, desk):
    calls = await asked(gathering, "a", "b", "c", "d", "e")
    desk.may_go_on.set()

    assert await asyncio.gather(*calls) == ["A", "B", "C", "D", "E"]
    assert desk.groups == [["a"], ["b", "c", "d", "e"]]


async def test_enough_calls_do_not_wait_for_those_before_them(gathering, desk):
    first, *others = "abcdefghi"
    calls = await asked(gathering, first, *others)
    await asyncio.to_thread(desk.wait_for_groups, 2)  # none of them is answered yet
    desk.may_go_on.set()

    await asyncio.gather(*calls)
    assert sorted(desk.groups, key=len) == [[first], others]


async def test_after_a_crowd_calls_wait_for_each_other(gathering, desk):
    desk.may_go_on.set()
    await asyncio.gather(*await asked(gathering, *"abcde"))
    desk.groups.clear()

    calls = await asked(gathering, *"klmn")

    assert await asyncio.gather(*calls) == ["K", "L", "M", "N"]
    assert desk.groups == [["k", "l", "m", "n"]]


async def test_a_call_that_waits_for_a_crowd_in_vain_is_answered_alone(gathering, desk):
    desk.may_go_on.set()
    await asyncio.gather(*await asked(gathering, *"abcde"))
    desk.groups.clear()

    assert await gathering.answer("k") == "K"
    assert desk.groups == [["k"]]


async def test_a_failure_fails_its_group_and_no_other(gathering, desk):
    calls = await asked(gathering, "bad", "a", "b", "c")
    desk.may_go_on.set()

    answers = await asyncio.gather(*calls, return_exceptions=True)

    assert isinstance(answers[0], ValueError)
    assert answers[1:] == ["A", "B", "C"]


async def test_a_caller_who_left_leaves_the_others_their_answers(gathering, desk):
    calls = await asked(gathering, "a", "b", "c", "d")
    calls[2].cancel()
    desk.may_go_on.set()

    answers = await asyncio.gather(*calls, return_exceptions=True)

    assert isinstance(answers[2], asyncio.CancelledError)
    assert (answers[0], answers[1], answers[3]) == ("A", "B", "D")
