"""Triggering: what is accepted, with which settings, and that it happens once."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connection, transaction

from apps.core.errors import Conflict, Invalid, NotFound, TooLarge
from apps.core.ids import new_id
from apps.deployments.models import Task
from apps.environments.models import Environment
from apps.runs.errors import WaitCycle
from apps.runs.limits import limits
from apps.runs.models import (
    IdempotencyKey,
    PendingRun,
    ReadyRun,
    Run,
    RunTag,
    Timer,
    Waitpoint,
)
from apps.runs.operations.cancel import cancel_run
from apps.runs.operations.trigger import TriggerRequest, trigger_runs
from apps.runs.policy import key_digest
from apps.runs.states import KeyKind, TimerKind
from tests import factories
from tests.runs.engine import (
    NOW,
    Worker,
    ask,
    completed,
    failed,
    get,
    kinds,
    later,
    suspended,
    trigger,
    unknown_run,
    unsound,
    version,
)

pytestmark = pytest.mark.django_db


# -- What a run is made of ---------------------------------------------------------------------


def test_a_run_takes_what_its_task_says(acme):
    version(
        acme.production, "hello",
        queue_name="slow", retry={"maxAttempts": 7}, machine="large-1x",
        max_duration_seconds=30, ttl_seconds=90,
    )  # fmt: skip
    run = get(trigger(acme.scope))
    assert (run.status, run.queue, run.max_attempts, run.machine) == (
        "QUEUED", "slow", 7, "large-1x",
    )  # fmt: skip
    assert (run.max_duration_seconds, run.ttl_seconds) == (30, 90)
    assert (run.version_id, run.version_number) == (None, None)


def test_what_the_caller_says_counts_more(acme):
    version(acme.production, "hello", queue_name="slow", machine="large-1x", ttl_seconds=90)
    run = get(
        trigger(
            acme.scope, queue="fast", machine="micro", max_attempts=1, max_duration_seconds=5,
            ttl=timedelta(seconds=10), concurrency_key="k", is_test=True, traceparent="00-1-2-01",
        )
    )  # fmt: skip
    assert (run.queue, run.machine, run.max_attempts, run.concurrency_key) == (
        "fast", "micro", 1, "k",
    )  # fmt: skip
    assert (run.max_duration_seconds, run.ttl_seconds) == (5, 10)
    assert (run.is_test, run.traceparent) == (True, "00-1-2-01")


def test_a_task_without_settings_gets_the_platforms(acme, worker):
    run = get(trigger(acme.scope))
    assert (run.queue, run.max_attempts, run.machine) == ("task/hello", 3, "small-1x")
    assert (run.max_duration_seconds, run.ttl_seconds) == (None, None)


def test_attempts_stay_below_the_platforms_limit(acme):
    version(acme.production, "hello", retry={"maxAttempts": 9_999})
    assert get(trigger(acme.scope)).max_attempts == limits().attempts_per_run


def test_payload_and_metadata_arrive_at_the_worker(acme, worker):
    trigger(
        acme.scope, payload='{"a":[1]}', payload_type="application/super+json", metadata={"m": 1}
    )
    (work,) = worker.claim()
    assert (work.payload, work.payload_type) == ('{"a":[1]}', "application/super+json")
    assert work.metadata == {"m": 1}


def test_a_run_without_a_payload_has_none(acme, worker):
    trigger(acme.scope)
    assert worker.claim()[0].payload is None


def test_a_payload_may_have_exactly_the_limit(acme, worker):
    text = "x" * limits().payload_bytes
    assert get(trigger(acme.scope, payload=text, payload_type="text/plain")).payload == text


def test_a_payload_is_measured_in_bytes(acme, worker):
    text = "é" * (limits().payload_bytes // 2 + 1)
    with pytest.raises(TooLarge, match=str(limits().payload_bytes)):
        trigger(acme.scope, payload=text, payload_type="text/plain")


def test_metadata_has_a_limit(acme, worker):
    with pytest.raises(TooLarge, match="metadata"):
        trigger(acme.scope, metadata={"a": "x" * limits().metadata_bytes})


def test_tags_are_kept_once_each_in_their_order(acme, worker):
    run = get(trigger(acme.scope, tags=("b", "a", "b")))
    assert run.tags == ["b", "a"]
    assert set(RunTag.objects.values_list("tag", flat=True)) == {"a", "b"}


def test_ten_tags_are_enough(acme, worker):
    trigger(acme.scope, tags=tuple(map(str, range(10))))
    trigger(acme.scope, tags=("same",) * 11)
    with pytest.raises(Invalid, match="10 tags"):
        trigger(acme.scope, tags=tuple(map(str, range(11))))


@pytest.mark.parametrize("tag", ["", "x" * 129, "a\0b", "\ud800"])
def test_a_tag_must_be_usable(acme, worker, tag):
    with pytest.raises(Invalid) as caught:
        trigger(acme.scope, tags=(tag,))
    assert "tags" in caught.value.detail


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("queue", {"queue": ""}),
        ("queue", {"queue": "q" * 256}),
        ("concurrencyKey", {"concurrency_key": "a\0"}),
        ("machine", {"machine": "huge"}),
        ("maxAttempts", {"max_attempts": 0}),
        ("maxAttempts", {"max_attempts": 251}),
        ("maxDuration", {"max_duration_seconds": 0}),
        ("maxDuration", {"max_duration_seconds": 2**31}),
        ("ttl", {"ttl": timedelta(seconds=-1)}),
        ("ttl", {"ttl": timedelta(days=4_000)}),
        ("idempotencyKeyTTL", {"idempotency_ttl": timedelta(days=4_000)}),
        ("idempotencyKey", {"idempotency_key": ""}),
        ("idempotencyKey", {"idempotency_key": "k" * 2_049}),
        ("idempotencyKey", {"idempotency_key": "a\0b"}),
        ("priority", {"priority_seconds": 1e300}),
        ("priority", {"priority_seconds": float("nan")}),
        ("payload", {"payload": "a\0b"}),
        ("payload", {"payload": "\udfff"}),
        ("task", {"task": "t" * 256}),
        ("task", {"task": ""}),
    ],
)
def test_an_option_out_of_its_bounds_is_named(acme, worker, field, options):
    with pytest.raises(Invalid) as caught:
        trigger(acme.scope, **options)
    assert field in caught.value.detail
    assert not Run.objects.exists()


def test_metadata_that_postgresql_cannot_hold_is_kept_as_far_as_it_can(acme, worker):
    run = get(trigger(acme.scope, metadata={"a\0": "b\0c\ud800", "n": [float("inf"), 1.5]}))
    assert run.metadata == {"a\ufffd": "b\ufffdc\ufffd", "n": [None, 1.5]}


def test_one_bad_request_refuses_all(acme, worker):
    good, bad = TriggerRequest(task="hello"), TriggerRequest(task="hello", machine="huge")
    with pytest.raises(Invalid):
        trigger_runs(acme.scope, requests=[good, bad], now=NOW)
    assert not Run.objects.exists()


def test_many_are_accepted_at_once_in_order(acme, worker):
    requests = [TriggerRequest(task="hello", payload=str(n)) for n in range(50)]
    made = trigger_runs(acme.scope, requests=requests, now=NOW)
    assert [get(one.run_id).payload for one in made] == [str(n) for n in range(50)]
    assert unsound() == []


# -- Schemas -----------------------------------------------------------------------------------

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "items": {"type": "array", "items": {"type": "integer"}},
        "at": {"type": "string", "format": "date-time"},
    },
    "required": ["name"],
}


def test_a_payload_that_does_not_fit_its_task_is_refused_with_every_path(acme):
    version(acme.production, "hello", payload_schema=SCHEMA)
    with pytest.raises(Invalid) as caught:
        trigger(acme.scope, payload='{"items": [1, "two", 3, null]}')
    errors = caught.value.detail["payload"]
    assert {error["path"] for error in errors} == {"$", "$.items[1]", "$.items[3]"}
    assert "'name' is a required property" in str(errors)
    assert caught.value.status == 422


@pytest.mark.parametrize("payload", ['{"name": "alice"}', '{"name": "a", "items": [1], "more": 1}'])
def test_a_payload_that_fits_is_accepted(acme, payload):
    version(acme.production, "hello", payload_schema=SCHEMA)
    assert get(trigger(acme.scope, payload=payload)).payload == payload


def test_a_payload_that_is_not_json_is_refused(acme):
    version(acme.production, "hello", payload_schema=SCHEMA)
    with pytest.raises(Invalid, match="not JSON"):
        trigger(acme.scope, payload="{")


def test_superjson_is_checked_by_its_value(acme):
    version(acme.production, "hello", payload_schema=SCHEMA)
    kind = "application/super+json"
    trigger(acme.scope, payload='{"json": {"name": "a"}, "meta": {}}', payload_type=kind)
    with pytest.raises(Invalid):
        trigger(acme.scope, payload='{"json": {"name": 1}}', payload_type=kind)


def test_a_stored_payload_is_left_to_its_worker(acme):
    version(acme.production, "hello", payload_schema=SCHEMA)
    trigger(acme.scope, payload="packets/x.json", payload_type="application/store")


# -- When --------------------------------------------------------------------------------------


def test_a_delayed_run_is_not_ready_and_has_a_timer(acme, worker):
    run = get(trigger(acme.scope, delay_until=later(60), ttl=timedelta(seconds=10)))
    assert (run.status, run.delayed_until, run.queued_at) == ("DELAYED", later(60), None)
    assert not ReadyRun.objects.exists()
    due = dict(Timer.objects.values_list("kind", "due_at"))
    assert due == {TimerKind.DUE: later(60), TimerKind.TTL: later(70)}


def test_a_delay_that_is_over_does_not_count(acme, worker):
    run = get(trigger(acme.scope, delay_until=NOW))
    assert (run.status, run.delayed_until) == ("QUEUED", None)
    assert not Timer.objects.exists()


def test_a_time_to_live_of_zero_means_for_ever(acme):
    version(acme.production, "hello", ttl_seconds=90)
    assert get(trigger(acme.scope, ttl=timedelta(0))).ttl_seconds is None
    assert not Timer.objects.exists()


def test_a_part_of_a_second_is_no_eternity(acme, worker):
    assert get(trigger(acme.scope, ttl=timedelta(milliseconds=1))).ttl_seconds == 1


def test_a_run_in_development_expires_unless_it_is_told_otherwise(acme):
    version(acme.development, "hello", "task", number="20261124.9")
    scope = factories.key_scope(acme.development)
    assert get(trigger(scope)).ttl_seconds == limits().development_ttl_seconds
    assert get(trigger(scope, ttl=timedelta(0))).ttl_seconds is None
    Task.objects.filter(slug="task").update(ttl_seconds=0)
    assert get(trigger(scope, "task")).ttl_seconds is None


def test_priority_is_a_head_start(acme, worker):
    run_id = trigger(acme.scope, priority_seconds=90)
    assert ReadyRun.objects.get(pk=run_id).order_at == later(-90)


# -- Versions ----------------------------------------------------------------------------------


def test_a_task_that_no_version_has_waits_for_one(acme):
    run = get(trigger(acme.scope, "unborn"))
    assert (run.status, run.queue) == ("PENDING_VERSION", "task/unborn")
    assert PendingRun.objects.get().task == "unborn"
    assert unsound() == []


def test_a_locked_run_is_locked(acme):
    old = version(acme.production, "hello", machine="micro")
    version(acme.production, "hello", number="20261124.2")
    run = get(trigger(acme.scope, version="20261124.1"))
    assert (run.version_id, run.version_number, run.machine) == (old.pk, "20261124.1", "micro")


def test_an_unknown_version_is_refused(acme, worker):
    with pytest.raises(Invalid) as caught:
        trigger(acme.scope, version="20200101.1")
    assert "version" in caught.value.detail


def test_a_version_without_the_task_is_refused(acme, worker):
    version(acme.production, "young", number="20261124.2")
    with pytest.raises(Invalid, match="has no task 'young'"):
        trigger(acme.scope, "young", version="20261124.1")


def test_a_version_of_another_environment_is_unknown(acme, charlie):
    with pytest.raises(Invalid):
        trigger(acme.scope, version="20261124.1")


# -- Idempotency keys --------------------------------------------------------------------------


def test_the_same_key_answers_with_the_same_run(acme, worker):
    first = ask(acme.scope, idempotency_key="k")
    second = ask(acme.scope, idempotency_key="k", payload="2")
    assert (first.is_cached, second.is_cached) == (False, True)
    assert first.run_id == second.run_id
    assert Run.objects.count() == 1


def test_a_key_belongs_to_its_task_and_environment(acme, worker, charlie):
    version(acme.staging, "hello")
    made = {
        trigger(acme.scope, "hello", idempotency_key="k"),
        trigger(acme.scope, "parent", idempotency_key="k"),
        trigger(factories.key_scope(acme.staging), idempotency_key="k"),
        trigger(charlie.scope, idempotency_key="k"),
    }
    assert len(made) == 4


def test_one_key_twice_in_one_call_makes_one_run(acme, worker):
    requests = [TriggerRequest(task="hello", idempotency_key="k") for _ in range(3)]
    made = trigger_runs(acme.scope, requests=requests, now=NOW)
    assert len({one.run_id for one in made}) == 1
    assert [one.is_cached for one in made] == [False, True, True]


def test_a_key_expires(acme, worker):
    first = trigger(acme.scope, idempotency_key="k", idempotency_ttl=timedelta(seconds=10))
    assert trigger(acme.scope, idempotency_key="k", now=later(9)) == first
    second = ask(acme.scope, idempotency_key="k", now=later(10))
    assert (second.run_id == first, second.is_cached) == (False, False)


def test_a_key_lives_thirty_days_by_default(acme, worker):
    trigger(acme.scope, idempotency_key="k")
    assert IdempotencyKey.objects.get(kind=KeyKind.USER).expires_at == NOW + timedelta(days=30)


def test_a_completed_run_keeps_its_key(acme, worker):
    run_id = trigger(acme.scope, idempotency_key="k")
    worker.say(completed(*worker.claim()))
    assert trigger(acme.scope, idempotency_key="k") == run_id


def test_a_failed_run_gives_its_key_back(acme, worker):
    run_id = trigger(acme.scope, idempotency_key="k")
    worker.say(failed(*worker.claim()))
    assert trigger(acme.scope, idempotency_key="k") != run_id


def test_a_key_is_not_given_back_by_a_retry(acme, worker):
    run_id = trigger(acme.scope, idempotency_key="k")
    worker.say(failed(*worker.claim(), retry_delay_ms=10_000))
    assert trigger(acme.scope, idempotency_key="k") == run_id


def test_an_old_runs_end_does_not_take_a_younger_ones_key(acme, worker):
    trigger(acme.scope, idempotency_key="k", idempotency_ttl=timedelta(seconds=1))
    (old,) = worker.claim()
    young = trigger(acme.scope, idempotency_key="k", now=later(5))
    worker.say(failed(old), now=later(6))
    assert trigger(acme.scope, idempotency_key="k", now=later(7)) == young


def test_the_customers_own_key_is_shown(acme, worker):
    options = {"key": "order-1", "scope": "run"}
    run = get(trigger(acme.scope, idempotency_key="f" * 64, idempotency_options=options))
    assert (run.idempotency_key, run.idempotency_options) == ("order-1", options)
    assert get(trigger(acme.scope, idempotency_key="plain")).idempotency_key == "plain"


# -- Request keys and one-time tokens ----------------------------------------------------------


def test_a_retried_call_is_the_same_call(acme, worker):
    first, second = (ask(acme.scope, request_key="r", now=later(n)) for n in range(2))
    assert first.run_id == second.run_id
    assert (first.is_cached, second.is_cached) == (False, False)


def test_a_retried_call_with_a_key_is_the_same_call(acme, worker):
    first = ask(acme.scope, request_key="r", idempotency_key="k")
    again = ask(acme.scope, request_key="r", idempotency_key="k")
    assert (again.run_id, again.is_cached) == (first.run_id, False)


def test_a_retried_call_finds_the_run_that_a_key_answered_with(acme, worker):
    made = trigger(acme.scope, idempotency_key="k")
    for _ in range(2):
        assert ask(acme.scope, request_key="r", idempotency_key="k").run_id == made
    assert Run.objects.count() == 1


def test_a_retried_call_is_not_tried_again_because_its_run_failed(acme, worker):
    made = trigger(acme.scope, request_key="r", idempotency_key="k")
    worker.say(failed(*worker.claim()))
    assert trigger(acme.scope, request_key="r", idempotency_key="k") == made
    assert not IdempotencyKey.objects.filter(kind=KeyKind.USER).exists()


def test_a_call_is_forgotten_after_a_day(acme, worker):
    first = trigger(acme.scope, request_key="r")
    assert trigger(acme.scope, request_key="r", now=NOW + timedelta(hours=25)) != first


def test_a_one_time_token_is_used_once(acme, worker):
    trigger(acme.scope, token_digest=b"t" * 32)
    with pytest.raises(Invalid, match="already been used"):
        trigger(acme.scope, token_digest=b"t" * 32)
    assert Run.objects.count() == 1


def test_a_retried_call_may_show_its_token_again(acme, worker):
    first = trigger(acme.scope, token_digest=b"t" * 32, request_key="r")
    assert trigger(acme.scope, token_digest=b"t" * 32, request_key="r") == first


def test_a_refused_call_does_not_use_its_token(acme):
    version(acme.production, "hello", payload_schema=SCHEMA)
    with pytest.raises(Invalid), transaction.atomic():
        trigger(acme.scope, token_digest=b"t" * 32, payload="1")
    trigger(acme.scope, token_digest=b"t" * 32, payload='{"name": "a"}')


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("kind", ["idempotency_key", "request_key"])
def test_two_callers_at_the_same_moment_make_one_run(kind):
    acme = factories.acme()
    version(acme.production, "hello")
    for turn in range(15):
        barrier, found = threading.Barrier(2), []

        def call(key=f"k{turn}", barrier=barrier, found=found):
            barrier.wait()
            found.append(trigger(acme.scope, **{kind: key}))
            connection.close()

        threads = [threading.Thread(target=call) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 2
        assert len(set(found)) == 1
    assert Run.objects.count() == 15
    assert unsound() == []


# -- Parents -----------------------------------------------------------------------------------


def running(scope, worker: Worker, task: str = "parent"):
    trigger(scope, task)
    (work,) = (work for work in worker.claim() if work.task == task)
    worker.start(work)
    return work


def test_a_child_knows_its_family(acme, worker):
    parent = get(running(acme.scope, worker).run)
    child = get(trigger(acme.scope, parent_run_id=parent.pk))
    grandchild = get(trigger(acme.scope, parent_run_id=child.pk))
    assert (child.parent_id, child.root_id, child.depth) == (parent.pk, parent.pk, 1)
    assert (grandchild.parent_id, grandchild.root_id, grandchild.depth) == (child.pk, parent.pk, 2)
    assert (parent.root_id, parent.depth) == (None, 0)


def test_a_child_that_nobody_waits_for_goes_its_own_way(acme, worker):
    parent = get(running(acme.scope, worker).run)
    made = ask(acme.scope, parent_run_id=parent.pk)
    child = get(made.run_id)
    assert (made.waitpoint_id, child.version_number, child.trigger_function) == (
        None, None, "trigger",
    )  # fmt: skip


def test_a_child_that_is_waited_for_has_a_waitpoint_and_its_parents_version(acme, worker):
    parent = get(running(acme.scope, worker).run)
    version(acme.production, "hello", number="20261124.2")
    made = ask(acme.scope, parent_run_id=parent.pk, resume_parent=True)
    child = get(made.run_id)
    assert Waitpoint.objects.get(pk=made.waitpoint_id).run_id == child.pk
    assert (child.version_number, child.trigger_function) == ("20261124.1", "triggerAndWait")


def test_a_child_in_development_runs_with_the_newest_code(acme):
    scope = factories.key_scope(acme.development)
    worker = Worker(version(acme.development, "hello", "parent"))
    parent = get(running(scope, worker).run)
    version(acme.development, "hello", "parent", number="20261124.2")
    made = ask(scope, parent_run_id=parent.pk, resume_parent=True, version="20261124.1")
    assert get(made.run_id).version_id is None


def test_a_child_needs_its_task_in_the_parents_version(acme, worker):
    parent = get(running(acme.scope, worker).run)
    version(acme.production, "young", number="20261124.2")
    with pytest.raises(Invalid, match="has no task"):
        trigger(acme.scope, "young", parent_run_id=parent.pk, resume_parent=True)


def test_an_unknown_parent_is_not_found(acme, worker):
    with pytest.raises(NotFound):
        trigger(acme.scope, parent_run_id=unknown_run())


def test_charlie_cannot_give_alices_run_a_child(acme, worker, charlie):
    parent = get(running(acme.scope, worker).run)
    with pytest.raises(NotFound):
        trigger(charlie.scope, parent_run_id=parent.pk)


def test_a_run_that_has_ended_gets_no_children(acme, worker):
    work = running(acme.scope, worker)
    worker.say(completed(work))
    with pytest.raises(Conflict):
        trigger(acme.scope, parent_run_id=get(work.run).pk)


def test_a_run_that_is_being_canceled_gets_no_children(acme, worker):
    parent = get(running(acme.scope, worker).run)
    cancel_run(acme.scope, run_id=parent.pk, now=NOW)
    with pytest.raises(Conflict):
        trigger(acme.scope, parent_run_id=parent.pk)


def test_a_chain_of_runs_may_go_on_for_ever(acme, worker):
    parent = get(running(acme.scope, worker).run)
    Run.objects.filter(pk=parent.pk).update(depth=32_767)
    assert get(trigger(acme.scope, parent_run_id=parent.pk)).depth == 32_767


def test_a_run_may_not_wait_for_itself(acme, worker):
    parent_id = trigger(acme.scope, "parent", idempotency_key="me")
    worker.start(*worker.claim())
    with pytest.raises(WaitCycle):
        trigger(
            acme.scope, "parent", idempotency_key="me", parent_run_id=parent_id, resume_parent=True
        )


def test_a_run_may_not_wait_for_who_waits_for_it(acme, worker):
    top = trigger(acme.scope, "parent", idempotency_key="top")
    worker.start(*worker.claim())
    child = trigger(acme.scope, parent_run_id=top, resume_parent=True)
    worker.start(*worker.claim())
    with pytest.raises(WaitCycle):
        trigger(
            acme.scope, "parent", idempotency_key="top", parent_run_id=child, resume_parent=True
        )


def test_a_run_may_wait_for_a_parent_that_does_not_wait_for_it(acme, worker):
    top = trigger(acme.scope, "parent", idempotency_key="top")
    worker.start(*worker.claim())
    child = trigger(acme.scope, parent_run_id=top)
    worker.start(*worker.claim())
    made = ask(acme.scope, "parent", idempotency_key="top", parent_run_id=child, resume_parent=True)
    assert (made.run_id, made.waitpoint_id is None) == (top, False)


def test_two_strangers_may_not_wait_for_each_other(acme, worker):
    one = trigger(acme.scope, idempotency_key="one")
    two = trigger(acme.scope, idempotency_key="two")
    works = {get(work.run).pk: work for work in worker.claim()}
    for work in works.values():
        worker.start(work)
    wait = ask(acme.scope, idempotency_key="two", parent_run_id=one, resume_parent=True)
    assert wait.run_id == two
    worker.say(suspended(works[one], wait.waitpoint_id))
    with pytest.raises(WaitCycle):
        trigger(acme.scope, idempotency_key="one", parent_run_id=two, resume_parent=True)


def test_a_key_that_answers_with_an_ended_run_answers_its_waiter_at_once(acme, worker):
    child = trigger(acme.scope, idempotency_key="k")
    worker.say(completed(*worker.claim()))
    parent = get(running(acme.scope, worker).run)
    made = ask(acme.scope, idempotency_key="k", parent_run_id=parent.pk, resume_parent=True)
    waitpoint = Waitpoint.objects.get(pk=made.waitpoint_id)
    assert (made.run_id, made.is_cached, waitpoint.output) == (child, True, '"done"')
    assert waitpoint.completed_at is not None


# -- Tenancy -----------------------------------------------------------------------------------


def test_a_run_belongs_to_the_scopes_environment(acme, worker, charlie):
    run = get(trigger(charlie.scope))
    assert run.environment_id == charlie.production.pk
    assert worker.claim() == []
    assert kinds(run.pk) == ["triggered"]


def test_a_paused_environment_still_accepts(acme, worker):
    Environment.objects.filter(pk=acme.production.pk).update(paused_at=NOW)
    assert get(trigger(acme.scope)).status == "QUEUED"


def test_keys_are_kept_as_digests(acme, worker):
    trigger(acme.scope, idempotency_key="secret order")
    key = IdempotencyKey.objects.get(kind=KeyKind.USER)
    assert bytes(key.digest) == key_digest("secret order")


def test_ids_rise_with_time(acme, worker):
    before = new_id()
    assert before < trigger(acme.scope) < trigger(acme.scope) < new_id()
