"""Queues and flow control as the SDK writes them."""

from __future__ import annotations

import pytest

from holdfast import Collect, PayloadInvalid, Queue, Rate
from holdfast.client.triggers import TriggerOptions, _wire_options
from holdfast.manifest import build_manifest
from holdfast.tasks import TaskDecorator


def make(function, **settings):
    return TaskDecorator(settings)(function)


def test_a_queue_says_all_of_its_limits():
    queue = Queue(
        name="mail", concurrency_limit=2, total_limit=20, rate=Rate(limit=5, per=60),
        key_rate=Rate(limit=1, burst=None), max_queued=9, weight=2.0, key_weights={"gold": 3.0},
    )  # fmt: skip
    assert queue.to_wire() == {
        "concurrencyLimit": 2, "totalLimit": 20, "rate": {"limit": 5, "period": 60, "burst": 1},
        "keyRate": {"limit": 1, "period": 1.0}, "maxQueued": 9, "weight": 2.0,
        "keyWeights": {"gold": 3.0},
    }  # fmt: skip
    assert Queue().to_wire() == {}


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Queue(total_limit=-1),
        lambda: Queue(max_queued=-1),
        lambda: Queue(weight=0),
        lambda: Queue(key_weights={"a": 0}),
        lambda: Rate(limit=0),
        lambda: Rate(limit=1, per=0),
        lambda: Rate(limit=1, burst=0),
        lambda: Collect(size=0, within=1),
        lambda: Collect(size=1, within=0),
        lambda: make(lambda: None, id="x", overlap="sometimes"),
        lambda: make(lambda: None, id="x", overlap="skip", collect=Collect(size=2, within=1)),
    ],
)
def test_what_makes_no_sense_is_refused_where_it_is_written(wrong):
    with pytest.raises(ValueError):
        wrong()


def test_a_task_says_how_it_joins_and_what_its_queue_allows():
    async def rows(rows: list[int]) -> None: ...

    async def sync() -> None: ...

    tasks = [
        make(rows, collect=Collect(size=100, within=5)),
        make(sync, overlap="skip", queue=Queue(name="q", total_limit=3)),
    ]
    wire = build_manifest(tasks).to_wire()
    first, second = wire["tasks"]
    assert first["collect"] == {"size": 100, "seconds": 5}
    assert second["overlap"] == "skip"
    assert wire["queues"] == [{"name": "q", "totalLimit": 3}]


def test_a_task_that_collects_is_triggered_with_one_item():
    async def rows(rows: list[int]) -> None: ...

    task = make(rows, collect=Collect(size=100, within=5))
    assert task._checked(3) == 3
    with pytest.raises(PayloadInvalid):
        task._checked("three")


def test_a_debounce_goes_over_the_wire_as_the_contract_has_it():
    options = TriggerOptions(
        debounce={"key": "k", "delay": 5, "mode": "trailing", "max_delay": "1m"}, overlap="queue"
    )
    assert _wire_options(options) == {
        "overlap": "queue",
        "debounce": {"key": "k", "delay": "5s", "mode": "trailing", "maxDelay": "1m"},
    }
