"""The query finds each violation when it is made by hand, and nothing in a sound system."""

from __future__ import annotations

from datetime import timedelta

import pytest

from apps.core import clock, sql
from apps.core.ids import new_id
from apps.runs.models import (
    Batch,
    BatchItem,
    EnvironmentSlots,
    Lane,
    Lease,
    QueueSlots,
    ReadyRun,
    Run,
    Timer,
    Wait,
    Waitpoint,
)
from apps.runs.queries import invariant_violations
from apps.runs.states import TimerKind
from tests.runs.engine import NOW, ask, suspended, trigger

pytestmark = pytest.mark.django_db


@pytest.fixture
def shop(acme, worker):
    """A queued, a dequeued, an executing and a waiting run."""
    now = clock.now()
    parent = trigger(acme.scope, "parent", now=now)
    (work,) = worker.claim(now=now)
    worker.start(work, now=now)
    child = ask(acme.scope, parent_run_id=parent, resume_parent=True, now=now)
    worker.say(suspended(work, child.waitpoint_id), now=now)
    trigger(acme.scope, now=now)
    trigger(acme.scope, now=now)
    executing, _ = worker.claim(now=now, free=2)
    worker.start(executing, now=now)
    return acme


def the(status: str):
    return Run.objects.filter(status=status)


def lease_of(status: str):
    return Lease.objects.filter(pk__in=the(status).values("pk"))


def finish(status: str) -> None:
    Run.objects.filter(pk=the(status)[0].pk).update(status="FAILED", finished_at=NOW)


def old():
    return clock.now() - timedelta(minutes=5)


def open_waitpoint_of_an_ended_run() -> None:
    child = Waitpoint.objects.get().run_id
    Lease.objects.filter(pk=child).delete()
    Run.objects.filter(pk=child).update(status="FAILED", finished_at=NOW)


def sealed_batch_with_ended_items() -> None:
    batch = Batch.objects.create(
        environment=Lane.objects.first().environment, run_count=1, created_at=NOW, updated_at=NOW,
        sealed_at=NOW,
    )  # fmt: skip
    BatchItem.objects.create(batch=batch, index=0, task="hello", is_finished=True)


def run_let_go_of_that_nothing_wakes() -> None:
    lease = lease_of("WAITING").get()
    the("WAITING").update(suspended_attempt_id=lease.attempt_id)
    lease.delete()
    Wait.objects.all().delete()


VIOLATIONS = {
    "a final run holds a lease": lambda: finish("EXECUTING"),
    "a lease names a run that does not exist": lambda: lease_of("EXECUTING").update(
        run_id=new_id()
    ),
    "a lease has another generation than its run": lambda: lease_of("EXECUTING").update(
        generation=9
    ),
    "an executing run has no lease": lambda: lease_of("EXECUTING").delete(),
    "a run that was let go of lacks a wake-up source": run_let_go_of_that_nothing_wakes,
    "a ready run is not queued": lambda: the("QUEUED").update(status="DELAYED", delayed_until=NOW),
    "a ready run is in a closed lane": lambda: Lane.objects.update(is_open=False),
    "a lane counts other slots than its leases hold": lambda: Lane.objects.update(used=5),
    "an environment counts other slots than its leases hold": lambda: (
        EnvironmentSlots.objects.update(used=5)
    ),
    "a queue counts other slots than its leases hold": lambda: QueueSlots.objects.update(used=5),
    "a lease or a ready run is in a lane that does not exist": lambda: ReadyRun.objects.update(
        lane_id=0
    ),
    "an open lane is in a closed queue": lambda: QueueSlots.objects.update(is_open=False),
    "a waiting run holds a slot": lambda: lease_of("WAITING").update(holds_slot=True),
    "an executing run holds no slot": lambda: lease_of("EXECUTING").update(holds_slot=False),
    "a waiting run lacks a wake-up source": lambda: Wait.objects.all().delete(),
    "a completed waitpoint has not woken a run that waits for any": lambda: (
        Waitpoint.objects.update(completed_at=old())
    ),
    "a waitpoint is open although its run has ended": open_waitpoint_of_an_ended_run,
    "a sealed batch is open although all its items have ended": sealed_batch_with_ended_items,
    "a lease expired long ago and was not rescued": lambda: Lease.objects.update(expires_at=old()),
    "a timer is long overdue": lambda: Timer.objects.create(
        run_id=new_id(), kind=TimerKind.DUE, due_at=old()
    ),
}


def test_a_sound_system_has_no_violations(shop):
    assert invariant_violations(now=clock.now()) == []


@pytest.mark.parametrize("rule", VIOLATIONS)
def test_a_violation_is_found(shop, rule):
    VIOLATIONS[rule]()
    found = [text.rpartition(":")[0] for text in invariant_violations(now=clock.now())]
    assert rule in found


def test_every_rule_has_a_violation_here():
    text = sql.load("runs", "invariants")
    rules = [line.split("'")[1] for line in text.splitlines() if line.startswith("SELECT '")]
    assert sorted(rules) == sorted(VIOLATIONS)


def test_violations_are_counted(shop):
    ReadyRun.objects.all().delete()
    Lane.objects.update(used=50)
    assert f"a lane counts other slots than its leases hold: {Lane.objects.count()}" in (
        invariant_violations(now=clock.now())
    )
