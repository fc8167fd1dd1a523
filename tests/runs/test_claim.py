"""The claim: who gets what, once, and never more than a limit allows."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, transaction

from apps.deployments.models import Queue
from apps.environments.models import Environment
from apps.runs.models import EnvironmentSlots, Lane, Lease, ReadyRun
from apps.runs.operations.versions import apply_queues
from apps.runs.queries import list_events
from apps.runs.states import RunStatus
from tests import factories
from tests.runs.engine import Worker, completed, get, later, started, trigger, unsound, version

pytestmark = pytest.mark.django_db


def test_a_run_goes_from_trigger_to_completion(acme, worker):
    run_id = trigger(acme.scope, payload='{"n": 1}', metadata={"a": 1})
    (work,) = worker.claim()
    assert (work.task, work.payload, work.attempt, work.generation) == ("hello", '{"n": 1}', 1, 1)
    assert work.metadata == {"a": 1}
    assert work.context["environment"]["slug"] == "prod"
    assert get(run_id).status == RunStatus.DEQUEUED
    worker.start(work, now=later(1))
    run = get(run_id)
    assert (run.status, run.attempt_count, run.version_number) == ("EXECUTING", 1, "20261124.1")
    (settled,) = worker.say(completed(work), now=later(2))
    assert settled.outcome == "final"
    run = get(run_id)
    assert (run.status, run.output, run.executed_ms) == ("COMPLETED", '"done"', 5)
    assert not Lease.objects.exists()
    assert not ReadyRun.objects.exists()
    assert [e.kind for e in list_events(acme.scope, run_id)] == [
        "triggered", "dequeued", "started", "completed",
    ]  # fmt: skip
    assert unsound() == []


def test_a_second_claim_gets_nothing(acme, worker):
    trigger(acme.scope)
    assert len(worker.claim()) == 1
    assert worker.claim() == []


def test_start_and_end_may_come_in_one_batch(acme, worker):
    run_id = trigger(acme.scope)
    (work,) = worker.claim()
    worker.say(started(work), completed(work))
    assert get(run_id).status == RunStatus.COMPLETED
    assert get(run_id).attempt_count == 1


def test_first_come_first_served_but_for_priority(acme, worker):
    late = trigger(acme.scope, now=later(3))
    early = trigger(acme.scope, now=later(1))
    urgent = trigger(acme.scope, now=later(4), priority_seconds=10)
    works = worker.claim(now=later(5))
    assert [get(w.run).pk for w in works] == [urgent, early, late]


def test_a_worker_gets_no_more_than_its_free_places(acme, worker):
    for _ in range(5):
        trigger(acme.scope)
    assert len(worker.claim(free=2)) == 2
    assert len(worker.claim(free=10)) == 3


def test_the_environment_limit_holds(acme, worker):
    Environment.objects.filter(pk=acme.production.pk).update(concurrency_limit=2)
    for _ in range(5):
        trigger(acme.scope)
    first = worker.claim()
    assert len(first) == 2
    assert worker.claim() == []
    worker.say(started(first[0]), completed(first[0]))
    assert len(worker.claim()) == 1
    assert EnvironmentSlots.objects.get().used == 2


def test_a_queue_limit_holds_and_does_not_block_others(acme):
    made = version(acme.production, "hello", "other", queues={"task/hello": 1})
    worker = Worker(made)
    for _ in range(3):
        trigger(acme.scope, "hello")
        trigger(acme.scope, "other")
    tasks = sorted(work.task for work in worker.claim())
    assert tasks == ["hello", "other", "other", "other"]
    assert unsound() == []


def test_a_limit_holds_per_concurrency_key(acme):
    made = version(acme.production, "hello", queues={"task/hello": 1})
    worker = Worker(made)
    for key in ("a", "a", "b"):
        trigger(acme.scope, concurrency_key=key)
    keys = [work.context["queue"]["concurrencyKey"] for work in worker.claim()]
    assert sorted(keys) == ["a", "b"]


def test_a_limit_can_be_raised_at_run_time(acme):
    made = version(acme.production, "hello", queues={"task/hello": 1})
    worker = Worker(made)
    for _ in range(3):
        trigger(acme.scope)
    assert len(worker.claim()) == 1
    Queue.objects.update(override=3)
    apply_queues(acme.production.pk, now=later(0))
    assert len(worker.claim()) == 2


def test_a_paused_environment_starts_nothing(acme, worker):
    trigger(acme.scope)
    Environment.objects.filter(pk=acme.production.pk).update(paused_at=later(0))
    assert worker.claim() == []
    Environment.objects.filter(pk=acme.production.pk).update(paused_at=None)
    assert len(worker.claim()) == 1


def test_lanes_take_turns(acme):
    made = version(acme.production, "busy", "quiet")
    worker = Worker(made)
    for second in range(6):
        trigger(acme.scope, "busy", now=later(second))
    trigger(acme.scope, "quiet", now=later(10))
    tasks = [work.task for work in worker.claim(free=2, now=later(11))]
    assert sorted(tasks) == ["busy", "quiet"]


def test_a_run_locked_to_a_version_goes_only_there(acme):
    old = version(acme.production, "hello")
    new = version(acme.production, "hello", number="20261124.2")
    trigger(acme.scope, version="20261124.1")
    trigger(acme.scope)
    assert len(Worker(new).claim()) == 1
    assert len(Worker(new).claim()) == 0
    assert len(Worker(old).claim()) == 1


def test_an_old_version_gets_no_unlocked_runs(acme):
    old = version(acme.production, "hello")
    version(acme.production, "hello", number="20261124.2")
    trigger(acme.scope)
    assert Worker(old).claim() == []


def test_a_worker_of_one_machine_takes_only_its_own(acme, worker):
    trigger(acme.scope, machine="large-1x")
    assert Worker(worker.version, machine="small-1x").claim() == []
    assert len(Worker(worker.version, machine="large-1x").claim()) == 1


def test_an_empty_lane_closes_and_a_trigger_opens_it(acme, worker):
    trigger(acme.scope)
    worker.claim()
    assert Lane.objects.get().is_open
    worker.claim()
    assert not Lane.objects.get().is_open
    trigger(acme.scope)
    assert len(worker.claim()) == 1


def test_one_environment_never_sees_the_runs_of_another(acme, worker):
    globex = factories.globex()
    version(globex.production, "hello")
    trigger(globex.scope)
    assert worker.claim() == []


@pytest.mark.django_db(transaction=True)
def test_many_claimers_share_the_work_without_overlap():
    acme = factories.acme()
    made = version(acme.production, "hello", queues={"task/hello": 30})
    for _ in range(60):
        trigger(acme.scope)
    barrier, taken = threading.Barrier(4), []

    def work():
        barrier.wait()
        for _ in range(20):
            taken.extend(work.run for work in Worker(made, free=3).claim())
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(set(taken)) == 30
    assert Lane.objects.get().used == 30
    assert unsound() == []


@pytest.mark.parametrize("version", [None, "20261124.1"])
def test_a_claim_reads_no_more_of_a_backlog_than_it_takes(acme, worker, version):
    for second in range(60):
        trigger(acme.scope, version=version, now=later(second / 100))
    asked: list[tuple[str, Any]] = []

    def note(execute, statement, parameters, many, context):
        asked.append((statement, parameters))
        return execute(statement, parameters, many, context)

    with transaction.atomic(), connection.execute_wrapper(note):
        assert len(worker.claim(free=2)) == 2
        transaction.set_rollback(True)
    claim = next(each for each in asked if "Claim ready runs" in each[0])
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {claim[0]}", claim[1])
        (plan,) = cursor.fetchone()
    read = [node["Actual Rows"] for node in _nodes(plan[0]["Plan"]) if _reads_ready_runs(node)]
    assert 2 <= max(read) <= 6


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for inner in node.get("Plans", []):
        yield from _nodes(inner)


def _reads_ready_runs(node: dict[str, Any]) -> bool:
    return node.get("Relation Name") == "runs_readyrun" and "Scan" in node["Node Type"]
