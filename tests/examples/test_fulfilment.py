"""The example does each step once, undoes what it must, and survives a crash at every record."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

from holdfast.testing import Bench, every_crash, replay

EXAMPLE = Path(__file__).parents[2] / "examples" / "fulfilment"
ORDER = {"id": "7", "items": {"lamp": 1, "chair": 1}, "card": "4242"}


@pytest.fixture
def tasks(monkeypatch):
    """The example's tasks, imported as its own project would."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    from fulfilment import tasks

    yield tasks
    for name in [name for name in sys.modules if name.partition(".")[0] == "fulfilment"]:
        del sys.modules[name]


def test_an_order_takes_its_way_and_does_each_step_once(tasks):
    with Bench() as bench:
        bench.answer_tokens(lambda token: True)
        run = bench.run(tasks.fulfil, ORDER)
    assert run.output == "parcel-7 arrived"
    assert run.steps == ["reserve", "reserve", "charge", "ship", "ask_for_review"]
    assert max(Counter(tasks.LEDGER).values()) == 1
    assert (run.evictions, len(run.attempts)) == (2, 1)
    replay(run.history())


def test_a_parcel_that_nobody_hears_of_is_lost(tasks):
    with Bench() as bench:
        assert bench.run(tasks.fulfil, ORDER).output == "parcel-7 is lost"


def test_what_was_reserved_is_released(tasks):
    with Bench() as bench:
        run = bench.run(tasks.fulfil, {**ORDER, "items": {"lamp": 1, "table": 1}})
    assert run.output == "out of stock: table"
    assert tasks.WAREHOUSE == {"lamp": 3, "chair": 1}


def test_it_ends_the_same_wherever_it_crashes(tasks):
    stock = dict(tasks.WAREHOUSE)
    for run in every_crash(
        tasks.fulfil, ORDER, prepare=lambda bench: bench.answer_tokens(lambda token: True)
    ):
        assert run.output in {"parcel-7 arrived", "out of stock: chair"}
        charges = {line for line in tasks.LEDGER if line.startswith("charge")}
        assert len(charges) <= 1  # one key, however often it was said
        tasks.LEDGER.clear()
        tasks.WAREHOUSE.update(stock)
