"""The example takes remarks in their order, whatever happens meanwhile, as its README says."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import pytest

from holdfast.testing import Bench, every_crash

EXAMPLE = Path(__file__).parents[2] / "examples" / "review"
DAY = timedelta(days=1)


@pytest.fixture
def tasks(monkeypatch):
    """The example's tasks, imported as its own project would."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    from review import tasks

    yield tasks
    for name in [name for name in sys.modules if name.partition(".")[0] == "review"]:
        del sys.modules[name]


@pytest.fixture
def bench():
    with Bench() as made:
        yield made


def test_it_is_rewritten_until_it_is_approved(tasks, bench):
    run = bench.trigger(tasks.review_text, "boats")
    bench.send_input(run, "remark", {"verdict": "change", "text": "they float"})
    bench.send_input(run, "remark", {"verdict": "change", "text": "mostly"})
    bench.advance(timedelta(hours=1))
    assert run.metadata["text"] == "About boats. They float. Mostly."
    bench.send_input(run, "remark", {"verdict": "approve"})
    bench.settle()
    assert run.output == {
        "text": "About boats. They float. Mostly.", "rounds": 2, "verdict": "approve",
    }  # fmt: skip
    assert run.steps == ["write", "rewrite", "rewrite"]


def test_who_is_late_is_reminded_and_still_heard(tasks, bench):
    run = bench.trigger(tasks.review_text, "boats")
    bench.advance(2 * DAY)
    assert run.metadata["reminders"] == 1
    bench.send_input(run, "remark", {"verdict": "reject"})
    bench.settle()
    assert run.output["verdict"] == "reject"


def test_a_week_of_silence_ends_it(tasks, bench):
    run = bench.run(tasks.review_text, "boats")
    assert run.output["verdict"] == "nobody answered"
    assert run.finished_at - run.created_at >= 7 * DAY


def test_what_is_no_remark_fails_it(tasks, bench):
    run = bench.trigger(tasks.review_text, "boats")
    bench.send_input(run, "remark", {"verdict": "perhaps"})
    bench.settle()
    assert (run.status, run.error["name"]) == ("FAILED", "InputInvalid")


def test_a_crash_anywhere_changes_nothing(tasks):
    def prepare(bench):
        remarks = iter([{"verdict": "change", "text": "they float"}, {"verdict": "approve"}])
        bench.answer_inputs(lambda run, key: next(remarks), after=timedelta(hours=30))

    outputs = [run.output for run in every_crash(tasks.review_text, "boats", prepare=prepare)]
    assert all(output == outputs[0] for output in outputs)
    assert outputs[0]["rounds"] == 1
