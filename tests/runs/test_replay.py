"""Replaying: a new run like an old one, on the current version."""

from __future__ import annotations

import pytest

from apps.core.errors import Invalid, NotFound
from apps.runs.operations.replay import replay_run
from tests.runs.engine import NOW, completed, get, later, trigger, unknown_run, version

pytestmark = pytest.mark.django_db


def replay(acme, run_id, **overrides):
    return replay_run(acme.scope, run_id=run_id, overrides=overrides, now=later(60))


def test_a_replay_is_a_new_run_like_the_old_one(acme, worker):
    old = trigger(
        acme.scope, payload='{"n": 1}', payload_type="application/super+json", queue="q",
        concurrency_key="k", tags=("a", "b"), machine="micro", max_attempts=2,
        max_duration_seconds=9, priority_seconds=3, is_test=True, metadata={"m": 1},
    )  # fmt: skip
    made = replay(acme, old)
    new = get(made.run_id)
    assert (new.pk != old, new.replay_of_id, new.source, made.is_cached) == (
        True, old, "replay", False,
    )  # fmt: skip
    same = (
        "task", "payload", "payload_type", "queue", "concurrency_key", "tags", "machine",
        "max_attempts", "max_duration_seconds", "priority_seconds", "is_test",
    )  # fmt: skip
    assert {name: getattr(new, name) for name in same} == {
        name: getattr(get(old), name) for name in same
    }
    assert (new.status, new.created_at) == ("QUEUED", later(60))


def test_a_replay_goes_to_the_current_version_without_a_family(acme, worker):
    parent = trigger(acme.scope, "parent")
    old = trigger(acme.scope, parent_run_id=parent, version="20261124.1", idempotency_key="k")
    version(acme.production, "hello", number="20261124.2")
    new = get(replay(acme, old).run_id)
    assert (new.version_number, new.parent_id, new.idempotency_key) == (None, None, None)


def test_a_replay_may_differ(acme, worker):
    old = trigger(acme.scope, payload="1", tags=("a",))
    new = get(replay(acme, old, payload="2", tags=("b",), machine="large-1x").run_id)
    assert (new.payload, new.tags, new.machine) == ("2", ["b"], "large-1x")


@pytest.mark.parametrize("name", ["task", "parent_run_id", "replay_of_id", "batch_id", "nonsense"])
def test_a_replay_stays_a_replay(acme, worker, name):
    old = trigger(acme.scope)
    with pytest.raises(Invalid, match=name):
        replay(acme, old, **{name: None})


def test_an_ended_run_may_be_replayed_again_and_again(acme, worker):
    old = trigger(acme.scope)
    worker.say(completed(*worker.claim()))
    assert len({replay(acme, old).run_id for _ in range(3)}) == 3


def test_charlie_replays_nothing_of_alices(acme, worker, charlie):
    old = trigger(acme.scope)
    for run_id in (old, unknown_run()):
        with pytest.raises(NotFound):
            replay_run(charlie.scope, run_id=run_id, overrides={}, now=NOW)
