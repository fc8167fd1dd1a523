"""What the engine does by itself: due work, expiry, rescue, and tidying."""

from __future__ import annotations

import threading
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import OperationalError, connection

from apps.core import clock
from apps.deployments.models import Queue, Task
from apps.runs.limits import limits
from apps.runs.management.commands.engine import Engine
from apps.runs.models import (
    PARTITIONED,
    Attempt,
    IdempotencyKey,
    Lane,
    Lease,
    PendingRun,
    ReadyRun,
    Run,
    Timer,
    Waitpoint,
    Waking,
)
from apps.runs.operations import duties
from apps.runs.operations.duties import (
    adopt_queues,
    expire,
    forget_keys,
    make_partitions,
    queue_due,
    release_pending,
    rescue,
)
from apps.runs.operations.sessions import Beats, extend_leases
from apps.runs.operations.versions import release_pending as release_now
from apps.runs.operations.waitpoints import create_token
from apps.runs.states import TimerKind
from holdfast.protocol import Stale
from tests import factories
from tests.runs.engine import (
    NOW,
    Worker,
    completed,
    failed,
    get,
    kinds,
    later,
    rejected,
    trigger,
    unsound,
    version,
)
from tests.runs.threads import one_before_other, together

pytestmark = pytest.mark.django_db


# -- Due ---------------------------------------------------------------------------------------


def test_a_delayed_run_is_queued_when_it_is_due(acme, worker):
    run_id = trigger(acme.scope, delay_until=later(10))
    assert queue_due(later(9)) == 0
    assert worker.claim() == []
    assert queue_due(later(10)) == 1
    run = get(run_id)
    assert (run.status, run.queued_at, run.delayed_until) == ("QUEUED", later(10), None)
    assert len(worker.claim()) == 1
    assert queue_due(later(20)) == 0


def test_a_delayed_run_takes_its_place_when_it_is_due(acme, worker):
    delayed = trigger(acme.scope, delay_until=later(10))
    plain = trigger(acme.scope, now=later(5))
    queue_due(later(10))
    assert [get(work.run).pk for work in worker.claim()] == [plain, delayed]


def test_a_bite_is_bounded(acme, worker, monkeypatch):
    monkeypatch.setattr(duties, "BITE", 2)
    for _ in range(5):
        trigger(acme.scope, delay_until=later(1))
    assert [queue_due(later(1)) for _ in range(4)] == [2, 2, 1, 0]
    assert ReadyRun.objects.count() == 5


def test_a_delayed_run_whose_task_has_no_version_is_parked(acme):
    run_id = trigger(acme.scope, "unborn", delay_until=later(10))
    queue_due(later(10))
    assert get(run_id).status == "PENDING_VERSION"
    assert kinds(run_id) == ["triggered", "pending_version"]
    assert unsound() == []


def test_a_delayed_run_whose_task_was_removed_is_parked(acme, worker):
    run_id = trigger(acme.scope, delay_until=later(10))
    version(acme.production, "other", number="20261124.2")
    queue_due(later(10))
    assert get(run_id).status == "PENDING_VERSION"
    assert unsound() == []


def test_a_retry_is_not_parked(acme, worker):
    run_id = trigger(acme.scope)
    worker.say(failed(*worker.claim(), retry_delay_ms=60_000))
    version(acme.production, "other", number="20261124.2")
    queue_due(later(60))
    assert get(run_id).status == "QUEUED"
    assert len(worker.claim()) == 1


# -- Expiry ------------------------------------------------------------------------------------


def test_a_run_that_does_not_start_in_time_expires(acme, worker):
    run_id = trigger(acme.scope, ttl=timedelta(seconds=10), idempotency_key="k")
    assert expire(later(9)) == 0
    assert expire(later(10)) == 1
    run = get(run_id)
    assert (run.status, run.expired_at, run.finished_at) == ("EXPIRED", later(10), later(10))
    assert run.error["code"] == "TASK_RUN_EXPIRED"
    assert worker.claim() == []
    assert not IdempotencyKey.objects.exists()
    assert unsound() == []


def test_a_run_without_a_version_expires_too(acme):
    run_id = trigger(acme.scope, "unborn", ttl=timedelta(seconds=10))
    expire(later(10))
    assert get(run_id).status == "EXPIRED"
    assert not PendingRun.objects.exists()


def test_a_delayed_run_expires_after_its_delay_and_its_time_to_live(acme, worker):
    run_id = trigger(acme.scope, delay_until=later(60), ttl=timedelta(seconds=10))
    assert expire(later(69)) == 0
    assert expire(later(70)) == 1  # it was due, but the engine was away
    assert get(run_id).status == "EXPIRED"
    assert queue_due(later(70)) == 0


def test_a_run_that_has_started_does_not_expire(acme, worker):
    trigger(acme.scope, ttl=timedelta(seconds=10))
    (work,) = worker.claim()
    worker.start(work)
    assert expire(later(60)) == 0
    worker.say(failed(work, retry_delay_ms=60_000))
    assert expire(later(600)) == 0
    assert get(work.run).status == "DELAYED"


def test_a_run_on_its_way_to_a_worker_expires_when_it_comes_back(acme, worker):
    run_id = trigger(acme.scope, ttl=timedelta(seconds=10))
    (work,) = worker.claim(now=later(9))
    assert expire(later(10)) == 1
    assert get(run_id).status == "DEQUEUED"
    worker.say(rejected(work), now=later(11))
    assert expire(later(10 + limits().delivery_seconds)) == 1
    assert get(run_id).status == "EXPIRED"
    assert unsound() == []


def test_a_run_that_starts_late_but_in_time_for_the_second_look_goes_on(acme, worker):
    trigger(acme.scope, ttl=timedelta(seconds=10))
    (work,) = worker.claim(now=later(9))
    expire(later(10))
    worker.start(work, now=later(11))
    assert not Timer.objects.exists()
    assert expire(later(60)) == 0


# -- Rescue ------------------------------------------------------------------------------------


def test_a_run_that_was_not_delivered_goes_back_with_its_place(acme, worker):
    first = trigger(acme.scope)
    worker.claim()
    second = trigger(acme.scope, now=later(1))
    assert rescue(later(limits().delivery_seconds - 1)) == 0
    assert rescue(later(limits().delivery_seconds)) == 1
    run = get(first)
    assert (run.status, run.attempt_count, run.delivery_count) == ("QUEUED", 0, 1)
    assert "did not start it" in run.status_reason
    assert unsound() == []
    assert [get(work.run).pk for work in worker.claim()] == [first, second]


def test_a_run_whose_worker_is_silent_is_tried_again(acme, worker):
    run_id = trigger(acme.scope)
    (work,) = worker.claim()
    worker.start(work)
    assert rescue(later(limits().lease_seconds - 1)) == 0
    assert rescue(later(limits().lease_seconds)) == 1
    run = get(run_id)
    assert (run.status, run.attempt_count) == ("DELAYED", 1)
    assert Attempt.objects.get().status == "CRASHED"
    assert Attempt.objects.get().error["code"] == "TASK_RUN_HEARTBEAT_TIMEOUT"
    assert unsound() == []


def test_the_tasks_own_policy_says_how_long_a_lost_run_rests(acme):
    retry = {"maxAttempts": 3, "minTimeoutInMs": 7_000, "factor": 1, "randomize": False}
    worker = Worker(version(acme.production, "hello", retry=retry))
    run_id = trigger(acme.scope)
    worker.start(*worker.claim())
    rescue(later(60))
    assert get(run_id).delayed_until == later(67)


def test_a_lost_run_without_attempts_left_crashes(acme):
    worker = Worker(version(acme.production, "hello", retry={"maxAttempts": 1}))
    run_id = trigger(acme.scope)
    worker.start(*worker.claim())
    rescue(later(60))
    run = get(run_id)
    assert (run.status, run.error["code"]) == ("CRASHED", "TASK_RUN_HEARTBEAT_TIMEOUT")
    assert unsound() == []


def test_a_beat_keeps_a_run(acme, worker):
    trigger(acme.scope)
    (work,) = worker.claim()
    worker.start(work)
    beats = [Beats(session_id=worker.session_id, generations={get(work.run).pk: 1})]
    extend_leases(beats, now=later(50))
    assert rescue(later(100)) == 0
    assert rescue(later(110)) == 1
    (answer,) = extend_leases(beats, now=later(111)).answers
    assert isinstance(answer.message, Stale)


def test_a_beat_does_not_keep_what_was_not_started(acme, worker):
    trigger(acme.scope)
    (work,) = worker.claim()
    beats = [Beats(session_id=worker.session_id, generations={get(work.run).pk: 1})]
    assert extend_leases(beats, now=later(5)).answers == []
    assert rescue(later(10)) == 1


def test_a_run_that_nobody_can_start_fails_at_last(acme, worker):
    run_id = trigger(acme.scope)
    now = 0.0
    for _ in range(limits().deliveries_per_attempt):
        assert len(worker.claim(now=later(now))) == 1
        now += limits().delivery_seconds
        assert rescue(later(now)) == 1
        if get(run_id).status == "DELAYED":
            now += 30
            queue_due(later(now))
    run = get(run_id)
    assert (run.status, run.error["code"]) == ("SYSTEM_FAILURE", "TASK_RUN_DEQUEUED_MAX_RETRIES")
    assert unsound() == []


def test_many_are_rescued_at_once_whatever_they_were_doing(acme, worker):
    for _ in range(9):
        trigger(acme.scope)
    works = worker.claim()
    for work in works[:3]:
        worker.start(work)
    for work in works[3:6]:
        worker.say(failed(work, retry_delay_ms=1))
    assert rescue(later(61)) == 9
    assert not Lease.objects.exists()
    assert unsound() == []


# -- Versions that come ------------------------------------------------------------------------


def test_a_promotion_queues_what_waited_for_it(acme):
    run_id = trigger(acme.scope, "unborn")
    assert release_pending(NOW) == 0
    version(
        acme.production, "unborn", queue_name="slow", machine="large-1x",
        retry={"maxAttempts": 9}, max_duration_seconds=5,
    )  # fmt: skip
    assert release_pending(later(1)) == 1
    run = get(run_id)
    assert (run.status, run.queue, run.machine, run.max_attempts, run.max_duration_seconds) == (
        "QUEUED", "slow", "large-1x", 9, 5,
    )  # fmt: skip
    assert not PendingRun.objects.exists()
    assert unsound() == []


def test_what_the_caller_said_stays(acme):
    options = {"queue": "mine", "machine": "micro", "max_attempts": 1, "max_duration_seconds": 9}
    run_id = trigger(acme.scope, "unborn", **options)
    version(acme.production, "unborn", queue_name="slow", machine="large-1x")
    release_pending(later(1))
    run = get(run_id)
    assert {name: getattr(run, name) for name in options} == options


def test_a_delayed_run_takes_over_what_its_new_task_says_and_stays_delayed(acme):
    run_id = trigger(acme.scope, "unborn", delay_until=later(60))
    version(acme.production, "unborn", queue_name="slow")
    assert release_pending(later(1)) == 1
    assert (get(run_id).status, get(run_id).queue) == ("DELAYED", "slow")
    assert release_pending(later(2)) == 0
    queue_due(later(60))
    assert get(run_id).status == "QUEUED"


def test_a_promotion_releases_only_its_own_environment(acme, charlie):
    mine, theirs = trigger(acme.scope, "unborn"), trigger(charlie.scope, "unborn")
    version(acme.production, "unborn")
    assert release_now(acme.production.pk, now=later(1)) == 1
    assert (get(mine).status, get(theirs).status) == ("QUEUED", "PENDING_VERSION")


@pytest.mark.django_db(transaction=True)
def test_a_promotion_in_the_moment_of_a_trigger_is_made_up_for():
    acme = factories.acme()

    def promote():
        version(acme.production, "unborn")
        release_now(acme.production.pk, now=NOW)

    one_before_other(lambda: trigger(acme.scope, "unborn"), promote)
    assert Run.objects.get().status == "PENDING_VERSION"
    assert release_pending(later(1)) == 1
    assert Run.objects.get().status == "QUEUED"
    assert unsound() == []


# -- Queues ------------------------------------------------------------------------------------


def test_lanes_that_missed_a_change_of_their_queue_are_brought_in_line(acme, worker):
    trigger(acme.scope, queue="q")
    trigger(acme.scope, queue="q", concurrency_key="k")
    Queue.objects.create(
        environment=acme.production, name="q", concurrency_limit=4, paused_at=NOW, created_at=NOW
    )
    assert adopt_queues(NOW) == 2
    assert set(Lane.objects.values_list("cap", "slots__is_paused")) == {(4, True)}
    assert adopt_queues(NOW) == 0
    Queue.objects.update(override=7, paused_at=None)
    assert adopt_queues(NOW) == 2
    assert set(Lane.objects.values_list("cap", "slots__is_paused")) == {(7, False)}


# -- Tidying -----------------------------------------------------------------------------------


def test_keys_that_have_expired_are_forgotten(acme, worker):
    trigger(acme.scope, idempotency_key="short", idempotency_ttl=timedelta(seconds=5))
    trigger(acme.scope, idempotency_key="long")
    assert forget_keys(later(4)) == 0
    assert forget_keys(later(5)) == 1
    assert IdempotencyKey.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_partitions_are_made_ahead_and_only_once():
    far = clock.now() + timedelta(days=40)
    made = together(*(lambda: make_partitions(far) for _ in range(3)))
    try:
        assert max(made) == len(PARTITIONED) * (limits().partition_days_ahead + 1)
        assert make_partitions(far) == 0
    finally:
        _drop_partitions_from(far)


def _drop_partitions_from(moment):
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relispartition AND relkind = 'r' "
            "AND right(relname, 8) >= %s",
            [f"{moment:%Y%m%d}"],
        )
        for (name,) in cursor.fetchall():
            cursor.execute(f'DROP TABLE "{name}"')


# -- Engines -----------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_two_engines_share_the_work_without_a_word():
    acme = factories.acme()
    version(acme.production, "hello")
    for _ in range(30):
        trigger(acme.scope, delay_until=later(1))
        trigger(acme.scope, ttl=timedelta(seconds=1))
    for _ in range(5):
        together(*(lambda duty=duty: duty(later(2)) for duty in (queue_due, expire) * 2))
    statuses = sorted(Run.objects.values_list("status", flat=True))
    assert statuses == ["EXPIRED"] * 30 + ["QUEUED"] * 30
    assert not Timer.objects.filter(kind=TimerKind.DUE).exists()
    assert unsound() == []


@pytest.mark.django_db(transaction=True)
def test_a_failing_duty_stops_no_other(monkeypatch):
    called = []

    def broken(now):
        called.append("broken")
        raise OperationalError("gone")

    def fine(now):
        called.append("fine")
        return 0

    monkeypatch.setattr(duties, "FAST", (broken, fine))
    monkeypatch.setattr(duties, "SLOW", ())
    engine = Engine()
    for _ in range(2):
        engine.tick()
    assert called == ["broken", "fine"] * 2


def test_a_look_tells_which_duties_have_something_to_do(acme, worker):
    create_token(acme.scope, timeout_at=later(40), now=NOW)
    trigger(acme.scope)
    worker.claim(now=later(40))
    kinds_of_timers = (TimerKind.DUE, TimerKind.TTL, TimerKind.CANCEL)
    for seconds, kind in enumerate(kinds_of_timers, start=1):
        Timer.objects.create(run_id=uuid4(), kind=kind, due_at=later(10 * seconds))

    def due(seconds: float) -> set[str]:
        return {name for name, is_due in duties.look(later(seconds)).items() if is_due}

    names = ["queue_due", "expire", "end_overdue_cancellations", "complete_due", "rescue"]
    assert [due(10 * count - 1) for count in range(1, 6)] == [set(names[:n]) for n in range(5)]
    assert due(50) == set(names)
    Waking.objects.create(waitpoint=Waitpoint.objects.get(), after=uuid4())  # whatever the time
    assert due(50) - {*names} == due(0) == {"wake_more"}
    assert due(50) == {duty.__name__ for duty in duties.FAST}


@pytest.mark.django_db(transaction=True)
def test_what_has_nothing_to_do_waits_for_a_slow_tick(monkeypatch):
    called = []

    def queue_due(now):
        called.append("queue_due")
        return 0

    def unlooked(now):
        called.append("unlooked")
        return 0

    monkeypatch.setattr(duties, "FAST", (queue_due, unlooked))
    monkeypatch.setattr(duties, "SLOW", ())
    engine = Engine()
    engine.tick()
    engine.tick()
    assert called == ["queue_due", "unlooked", "unlooked"]
    called.clear()
    past = clock.now() - timedelta(hours=1)
    Timer.objects.create(run_id=uuid4(), kind=TimerKind.DUE, due_at=past)
    engine.tick()
    assert called == ["queue_due", "unlooked"]


@pytest.mark.django_db(transaction=True)
def test_a_full_bite_is_followed_by_another(monkeypatch):
    bites = iter([duties.BITE, duties.BITE, 3])

    def hungry(now):
        return next(bites)

    monkeypatch.setattr(duties, "FAST", (hungry,))
    monkeypatch.setattr(duties, "SLOW", ())
    Engine().tick()
    assert list(bites) == []


@pytest.mark.django_db(transaction=True)
def test_nothing_is_rescued_right_after_an_outage():
    acme = factories.acme()
    worker = Worker(version(acme.production, "hello"))
    trigger(acme.scope)
    worker.claim(now=clock.now() - timedelta(hours=1))
    Engine().tick()
    assert Lease.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_an_engine_stops_when_it_is_told_to():
    stop = threading.Event()
    stop.set()
    Engine().run(stop)


def test_a_run_goes_through_all_of_it(acme):
    """Delayed, rescued, retried, completed: sound at every step."""
    worker = Worker(version(acme.production, "hello"))
    Task.objects.update(retry={"minTimeoutInMs": 1_000, "factor": 1, "randomize": False})
    run_id = trigger(acme.scope, delay_until=later(5), ttl=timedelta(seconds=30))
    queue_due(later(5))
    worker.claim(now=later(6))
    rescue(later(16))
    worker.start(*worker.claim(now=later(17)), now=later(18))
    rescue(later(78))
    queue_due(later(79))
    (work,) = worker.claim(now=later(80))
    worker.say(completed(work), now=later(81))
    assert kinds(run_id) == [
        "triggered", "queued", "dequeued", "returned", "dequeued", "started", "retrying", "queued",
        "dequeued", "started", "completed",
    ]  # fmt: skip
    assert get(run_id).attempt_count == 2
    assert unsound() == []
