"""The example asks, reminds, gives up and pays as its README says."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import pytest

from holdfast.testing import Bench

EXAMPLE = Path(__file__).parents[2] / "examples" / "approval"
EXPENSE = {"employee": "eve", "amount": 120}


@pytest.fixture
def tasks(monkeypatch):
    """The example's tasks, imported as its own project would."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    from approval import tasks

    yield tasks
    for name in [name for name in sys.modules if name.partition(".")[0] == "approval"]:
        del sys.modules[name]


@pytest.fixture
def bench():
    with Bench() as made:
        yield made


def answer(bench, approver, **decision):
    (token,) = [token for token in bench.tokens if token.tags == [approver]]
    bench.complete_token(token, {"approved": True, "by": approver, **decision})


def test_both_approve_and_it_is_paid(tasks, bench):
    run = bench.trigger(tasks.approve_expense, EXPENSE)
    bench.advance(timedelta(hours=1))
    assert (run.status, len(bench.tokens)) == ("WAITING", 2)
    answer(bench, "the manager")
    answer(bench, "the bookkeeper")
    bench.settle()
    assert run.output.startswith("paid 120.00 to eve")
    assert run.metadata == {"state": "paying", "sent": ["the manager", "the bookkeeper"]}


def test_who_is_late_is_reminded_once(tasks, bench):
    run = bench.trigger(tasks.approve_expense, EXPENSE)
    bench.advance(timedelta(hours=1))
    answer(bench, "the manager")
    bench.advance(timedelta(days=2))
    assert run.metadata["sent"] == ["the manager", "the bookkeeper", "the bookkeeper"]
    answer(bench, "the bookkeeper", approved=False)
    bench.settle()
    assert run.output == "refused by the bookkeeper"


def test_silence_is_a_refusal(tasks, bench):
    run = bench.run(tasks.approve_expense, EXPENSE)
    assert (run.status, run.output) == ("COMPLETED", "nobody answered")
    assert run.finished_at - run.created_at >= timedelta(days=3)


def test_an_answer_that_is_none_says_what_is_wrong(tasks, bench):
    bench.answer_tokens(lambda token: {"approved": "certainly"})
    run = bench.run(tasks.approve_expense, EXPENSE)
    assert (run.status, run.error["name"]) == ("FAILED", "TokenInvalid")
    assert "by: Field required" in run.error["message"]
