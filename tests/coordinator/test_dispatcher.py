"""The dispatcher: bad reports, outages, and workers that move to another process."""

from __future__ import annotations

import httpx
import pytest
from django.db import connection

from apps.core import clock
from apps.core.ids import public_id
from apps.deployments.models import WorkerSession
from apps.runs.models import Lease
from holdfast.protocol import (
    Beat,
    Capacity,
    Execute,
    Held,
    Malformed,
    MetadataChanged,
    Resume,
    Settled,
)
from tests.processes import until
from tests.runs.engine import ask, completed, failed, get, started, suspended, trigger

pytestmark = pytest.mark.django_db(transaction=True)


def fresh(acme, task="hello", **options):
    return trigger(acme.scope, task, now=clock.now(), **options)


def deep(levels=700):
    """A value that is nested beyond what can be walked through."""
    value = []
    for _ in range(levels):
        value = [value]
    return value


def changed(work, value):
    operation = {"type": "set", "key": "a", "value": value}
    return MetadataChanged(run=work.run, generation=work.generation, operations=[operation])


def call(server, acme, task="hello"):
    """Trigger over HTTP: the id of the run."""
    answer = httpx.post(
        f"{server.url}/api/v1/tasks/{task}/trigger",
        headers={"authorization": f"Bearer {acme.secret}"},
        json={},
        timeout=60,
    )
    return answer.json()["id"]


# -- Triggers that hand out --------------------------------------------------------------------


def test_a_lone_trigger_hands_its_run_out_in_its_own_transaction(server, worker, acme):
    for _ in range(20):  # one that comes in the middle of a turn leaves it to that
        run = call(server, acme)
        work = worker.expect(Execute)
        was_at_once = Lease.objects.get().claimed_at == get(run).created_at
        worker.send(completed(work))
        assert worker.expect(Settled).run == work.run == run
        if was_at_once:
            break
    assert was_at_once


def test_no_place_is_given_away_twice(server, connect, acme):
    worker = connect()
    worker.hello(capacity=1)
    runs = {call(server, acme) for _ in range(3)}
    for _ in runs:
        work = worker.expect(Execute)
        assert Lease.objects.count() == 1
        assert worker.heard == []
        worker.send(completed(work))
        assert worker.expect(Settled).run == work.run


# -- Bad reports -------------------------------------------------------------------------------


def test_one_bad_report_stops_no_other(worker, acme, errors_are_expected):
    for _ in range(2):
        fresh(acme)
    one, two = worker.expect(Execute), worker.expect(Execute)
    worker.send(completed(one), changed(two, deep()), completed(two))
    assert "could not be settled" in worker.expect(Malformed).detail
    assert {worker.expect(Settled).run for _ in range(2)} == {one.run, two.run}
    assert {get(work.run).status for work in (one, two)} == {"COMPLETED"}


def test_an_end_that_cannot_be_settled_ends_its_run_all_the_same(worker, acme, errors_are_expected):
    fresh(acme)
    work = worker.expect(Execute)
    worker.send(failed(work, error={"type": "STRING_ERROR", "raw": "x", "more": deep()}))
    assert worker.expect(Settled).outcome == "final"
    run = get(work.run)
    assert (run.status, run.error["code"]) == ("SYSTEM_FAILURE", "TASK_EXECUTION_FAILED")


def test_metadata_that_is_refused_is_told_and_the_run_goes_on(worker, acme):
    fresh(acme)
    work = worker.expect(Execute)
    worker.send(changed(work, "x" * 300_000), completed(work))
    assert "bytes" in worker.expect(Malformed).detail
    assert worker.expect(Settled).outcome == "final"


def test_hostile_characters_go_through(worker, acme):
    fresh(acme)
    work = worker.expect(Execute)
    worker.send(changed(work, "a\0\ud800"), completed(work, output="\0"))
    assert worker.expect(Settled).outcome == "final"
    assert get(work.run).metadata == {"a": "a\ufffd\ufffd"}


# -- Outages -----------------------------------------------------------------------------------


def break_connections() -> None:
    """End every connection to this database but the test's own, as a restart of it does."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def test_reports_survive_that_postgresql_goes_away(worker, acme, errors_are_expected):
    fresh(acme)
    work = worker.expect(Execute)
    worker.send(started(work))
    until(lambda: get(work.run).status == "EXECUTING")
    for _ in range(5):
        break_connections()
    worker.send(completed(work))
    assert worker.expect(Settled).outcome == "final"
    fresh(acme)
    again = worker.expect(Execute)
    break_connections()
    worker.send(completed(again))
    worker.expect(Settled)


def test_a_worker_may_connect_right_after_postgresql_was_restarted(worker, connect, acme):
    break_connections()
    raw = connect()
    raw.hello(capacity=0)


def test_without_redis_work_is_found_by_looking(connect, acme, deaf_process, errors_are_expected):
    raw = connect(to=deaf_process)
    raw.hello()
    for _ in range(3):
        run_id = fresh(acme)
        work = raw.expect(Execute)
        raw.send(started(work), completed(work))
        assert raw.expect(Settled).outcome == "final"
        assert get(run_id).status == "COMPLETED"
    raw.send(Beat(holding=[Held(run=work.run, generation=1)]))


# -- Moving ------------------------------------------------------------------------------------


def test_a_worker_that_moved_to_another_process_is_offered_by_that_one_only(
    connect, acme, second_process
):
    old = connect()
    old.hello(capacity=1)
    fresh(acme)
    work = old.expect(Execute)
    old.send(started(work))
    until(lambda: get(work.run).status == "EXECUTING")
    new = connect(to=second_process, session=old.session)
    held = [Held(run=work.run, generation=1)]
    assert new.hello(capacity=1, holding=held).lost == []
    new.send(completed(work))
    new.expect(Settled)
    for _ in range(5):
        run_id = fresh(acme)
        again = new.expect(Execute)
        assert again.run == public_id("run", run_id)
        new.send(completed(again))
        new.expect(Settled)
    old.socket.close()
    assert old.heard == []
    assert WorkerSession.objects.get().disconnected_at is None


def test_a_resume_that_went_into_the_old_connection_comes_with_a_beat(
    connect, acme, second_process
):
    old = connect()
    old.hello()
    fresh(acme, "parent")
    parent = old.expect(Execute)
    child = ask(acme.scope, parent_run_id=get(parent.run).pk, resume_parent=True, now=clock.now())
    old.send(suspended(parent, child.waitpoint_id), Capacity(slots=1))
    old.send(completed(old.expect(Execute)))
    old.expect(Resume)  # the worker never saw it
    held = [Held(run=parent.run, generation=1)]
    new = connect(to=second_process, session=old.session)
    new.hello(holding=held)
    new.expect(Resume)  # nor this one
    new.send(Beat(holding=held))
    assert new.expect(Resume).generation == 2
    new.send(completed(parent, generation=2))
    new.expect(Settled)


def test_a_beat_tells_the_process_what_its_worker_holds(connect, acme, second_process):
    """A worker of which this process has never heard that it executes something."""
    old = connect()
    old.hello(capacity=1)
    fresh(acme)
    work = old.expect(Execute)
    old.send(started(work))
    until(lambda: get(work.run).status == "EXECUTING")
    new = connect(to=second_process, session=old.session)
    new.hello(capacity=0)
    new.send(Beat(holding=[Held(run=work.run, generation=1)]))
    before = Lease.objects.get().expires_at
    until(lambda: Lease.objects.get().expires_at > before)
    new.send(Capacity(slots=1))
    second = fresh(acme)
    new.send(completed(work))  # its place is the second's
    new.expect(Settled, run=work.run)
    again = new.expect(Execute)
    assert again.run == public_id("run", second)
    new.send(completed(again))
    new.expect(Settled)
