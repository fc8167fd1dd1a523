"""Runs of the shipped worker against a live server."""

from __future__ import annotations

from apps.core import clock
from apps.runs.queries import invariant_violations
from tests.scenario.conftest import eventually


def test_a_run_returns_its_output(shop):
    shop.start_worker()
    handle = shop.client.trigger("hello", {"name": "alice"})
    run = shop.finished(handle.id)
    assert (run.status, run.output, run.version) == ("COMPLETED", "hello alice", shop.version)
    assert invariant_violations(now=clock.now()) == []


def test_a_parent_waits_for_its_children_without_a_slot(shop):
    shop.start_worker(capacity=2)
    handle = shop.client.trigger("parent", {"n": 12})
    run = shop.finished(handle.id)
    assert (run.status, run.output) == ("COMPLETED", sum(n * 2 for n in range(12)))
    assert invariant_violations(now=clock.now()) == []


def test_a_failing_run_is_tried_again_until_it_succeeds(shop):
    shop.start_worker()
    run = shop.finished(shop.client.trigger("flaky", {"until": 3}).id)
    assert (run.status, run.output, run.attempt_count) == ("COMPLETED", 3, 3)
    assert run.metadata == {"attempt": 3}


def test_a_run_that_fails_for_good_tells_its_error(shop):
    shop.start_worker()
    run = shop.finished(shop.client.trigger("flaky", {"until": 9}).id)
    assert (run.status, run.attempt_count) == ("FAILED", 3)
    assert "attempt 3 fails" in str(run.error)


def test_an_executing_run_is_canceled_by_its_worker(shop):
    shop.start_worker()
    handle = shop.client.trigger("forever")
    eventually(lambda: shop.client.runs.retrieve(handle.id).status == "EXECUTING")
    shop.client.runs.cancel(handle.id)
    assert shop.finished(handle.id).status == "CANCELED"
    assert shop.finished(shop.client.trigger("hello", {"name": "bob"}).id).status == "COMPLETED"


def test_an_endless_run_is_timed_out(shop):
    shop.start_worker()
    assert shop.finished(shop.client.trigger("short").id).status == "TIMED_OUT"


def test_a_dying_process_takes_only_its_run_with_it(shop):
    shop.start_worker()
    segfault = shop.client.trigger("die", {"how": "segfault"})
    exit_ = shop.client.trigger("die", {"how": "exit"})
    assert shop.finished(segfault.id).status == "CRASHED"
    assert shop.finished(exit_.id).status in {"CRASHED", "FAILED"}
    assert shop.finished(shop.client.trigger("hello", {"name": "bob"}).id).status == "COMPLETED"
