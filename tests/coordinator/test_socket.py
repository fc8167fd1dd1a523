"""The worker's socket, by a raw client of a live server."""

from __future__ import annotations

from datetime import timedelta

import msgpack
import pytest
from websockets.exceptions import InvalidStatus

from apps.core import clock
from apps.core.ids import public_id
from apps.deployments.models import WorkerSession
from apps.environments.operations.variables import create_variable
from apps.runs.models import Lease
from apps.runs.operations.cancel import cancel_run
from apps.runs.operations.duties import rescue
from holdfast.protocol import (
    PROTOCOL_VERSION,
    Beat,
    Cancel,
    Capacity,
    Execute,
    Held,
    Malformed,
    Refused,
    Resume,
    Settled,
    Stale,
    Started,
    Welcome,
)
from tests import factories
from tests.coordinator.client import raw_worker
from tests.processes import until
from tests.runs.engine import (
    ask,
    completed,
    failed,
    get,
    rejected,
    started,
    suspended,
    trigger,
    version,
)

pytestmark = pytest.mark.django_db(transaction=True)


def fresh(acme, task="hello", **options):
    return trigger(acme.scope, task, now=clock.now(), **options)


# -- The greeting ------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer tr_prod_nonsense"}])
def test_who_has_no_key_is_not_let_in(server, acme, headers):
    with (
        pytest.raises(InvalidStatus) as caught,
        raw_worker(server, "", headers=headers),
    ):
        pass
    assert caught.value.response.status_code == 403


@pytest.mark.parametrize("spoken", [0, PROTOCOL_VERSION + 1])
def test_another_protocol_is_refused_with_what_to_do(connect, spoken):
    raw = connect()
    raw.send(raw.greeting(protocol=spoken))
    assert raw.expect(Refused) == Refused(
        code="protocol",
        message=f"this server speaks worker protocol {PROTOCOL_VERSION}, the worker speaks "
        f"{spoken}: install the holdfast package that belongs to this server",
    )
    assert raw.closed() == 4400


def test_an_unknown_version_is_refused(connect):
    raw = connect()
    raw.send(raw.greeting(version="20200101.1"))
    refused = raw.expect(Refused)
    assert (refused.code, "20200101.1" in refused.message) == ("version", True)
    assert raw.closed() == 4400


@pytest.mark.parametrize(
    "fields", [{"capacity": -1}, {"capacity": 10_001}, {"machine": "huge"}, {"session": "x"},
               {"pool": "p" * 100}, {"holding": [Held(run="nonsense", generation=1)]}],
)  # fmt: skip
def test_a_hello_that_makes_no_sense_is_refused(connect, fields):
    raw = connect()
    raw.send(raw.greeting(**fields))
    assert raw.expect(Refused).code == "invalid"
    assert raw.closed() == 4400


def test_something_else_than_a_hello_is_refused(connect):
    raw = connect()
    raw.send(Beat(holding=[]))
    assert "first message must be a hello" in raw.expect(Refused).message
    assert raw.closed() == 4400


def test_silence_is_refused(connect):
    raw = connect()
    assert "no hello within" in raw.expect(Refused).message
    assert raw.closed() == 4400


@pytest.mark.parametrize("frame", ["{", "{}", '[{"type": "hello"}]', "[1]", "[]", b"\xc1"])
def test_a_first_frame_that_is_not_understood_is_refused(connect, frame):
    raw = connect()
    raw.socket.send(frame)
    assert raw.expect(Refused).code == "invalid"
    assert raw.closed() == 4400


def test_a_worker_is_welcomed_with_its_environment(connect, acme):
    create_variable(acme.scope, name="GREETING", value="hi", now=clock.now())
    raw = connect()
    welcome = raw.hello(labels={"zone": "a"})
    assert (welcome.beat_seconds, welcome.lease_seconds, welcome.lost) == (1, 60, [])
    assert welcome.environment["id"] == public_id("env", acme.production.pk)
    assert welcome.variables["GREETING"] == "hi"
    session = WorkerSession.objects.get()
    assert (str(session.pk), session.capacity, session.labels) == (raw.session, 4, {"zone": "a"})


def test_a_worker_that_leaves_is_noted(connect):
    raw = connect()
    raw.hello()
    raw.socket.close()
    until(lambda: WorkerSession.objects.get().disconnected_at is not None)


# -- Frames ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "frame", ["{", '{"type": "beat"}', '[{"type": "nonsense"}]', '[{"type": "started"}]', "[null]"]
)
def test_a_frame_that_is_not_understood_leaves_the_connection_open(worker, acme, frame):
    worker.socket.send(frame)
    assert worker.expect(Malformed).detail
    fresh(acme)
    worker.expect(Execute)


def test_a_message_about_something_that_is_no_run_is_malformed(worker):
    worker.send(Started(run="run_\0", generation=1, attempt=1))
    assert "not a run id" in worker.expect(Malformed).detail


def test_a_second_hello_is_malformed(worker):
    worker.send(worker.greeting())
    assert "not expected" in worker.expect(Malformed).detail


def test_unknown_keys_are_ignored(worker, acme):
    fresh(acme)
    work = worker.expect(Execute)
    worker.socket.send(
        f'[{{"type": "started", "run": "{work.run}", "generation": 1, "attempt": 1, "new": 1}},'
        f'{{"type": "completed", "run": "{work.run}", "generation": 1, "attempt": 1}}]'
    )
    assert worker.expect(Settled).outcome == "final"


def test_msgpack_says_the_same_as_json(connect, acme):
    raw = connect(binary=True)
    raw.hello()
    fresh(acme, payload='{"é": "😀"}')
    work = raw.expect(Execute)
    assert work.payload == '{"é": "😀"}'
    raw.send(started(work), completed(work, output='"ü"'))
    assert raw.expect(Settled).outcome == "final"
    assert get(work.run).output == '"ü"'
    raw.socket.send(msgpack.packb([{"type": "beat", "holding": 1}]))
    assert "beat.holding" in raw.expect(Malformed).detail


def test_a_worker_that_offers_no_encoding_gets_json(connect, acme):
    raw = connect(offers=False)
    raw.hello()
    fresh(acme)
    raw.send(completed(raw.expect(Execute)))
    assert raw.expect(Settled).outcome == "final"


# -- Work --------------------------------------------------------------------------------------


def test_a_run_is_pushed_and_its_end_is_settled(worker, acme):
    run_id = fresh(acme, payload="1")
    work = worker.expect(Execute)
    assert (work.run, work.payload, work.attempt, work.generation) == (
        public_id("run", run_id), "1", 1, 1,
    )  # fmt: skip
    worker.send(started(work))
    until(lambda: get(run_id).status == "EXECUTING")
    worker.send(completed(work, output='"done"'))
    settled = worker.expect(Settled)
    assert (settled.run, settled.outcome) == (work.run, "final")
    assert (get(run_id).status, get(run_id).output) == ("COMPLETED", '"done"')


def test_a_worker_gets_as_many_as_it_has_places(connect, acme):
    raw = connect()
    raw.hello(capacity=1)
    for _ in range(2):
        fresh(acme)
    first = raw.expect(Execute)
    raw.send(completed(first))
    second = raw.expect(Execute)
    assert [type(message) for message in raw.heard] == [Settled]
    assert second.run != first.run
    raw.send(completed(second))
    raw.expect(Settled, run=second.run)


def test_more_places_bring_more_runs(connect, acme):
    raw = connect()
    raw.hello(capacity=0)
    fresh(acme)
    raw.send(Capacity(slots=1))
    raw.send(completed(raw.expect(Execute)))
    raw.expect(Settled)


def test_a_worker_that_drains_gets_nothing_more(connect, acme):
    draining = connect()
    draining.hello()
    fresh(acme)
    work = draining.expect(Execute)
    draining.send(Capacity(slots=0), started(work))
    until(lambda: get(work.run).status == "EXECUTING")
    other = connect()
    other.hello()
    runs = {public_id("run", fresh(acme)) for _ in range(3)}
    works = [other.expect(Execute) for _ in runs]
    assert {one.run for one in works} == runs
    draining.send(completed(work))
    draining.expect(Settled)
    assert draining.heard == []
    other.send(*(completed(one) for one in works))
    for _ in works:
        other.expect(Settled)


def test_a_stale_report_is_told_so(worker, acme):
    fresh(acme)
    work = worker.expect(Execute)
    worker.send(completed(work, generation=7), completed(work))
    assert worker.expect(Stale) == Stale(run=work.run, generation=7)
    assert worker.expect(Settled).outcome == "final"


def test_a_short_retry_is_told_to_stay(worker, acme):
    fresh(acme)
    work = worker.expect(Execute)
    worker.send(started(work), failed(work, retry_delay_ms=10))
    settled = worker.expect(Settled)
    assert (settled.outcome, settled.attempt, settled.delay_ms) == ("retry_here", 2, 10)
    worker.send(started(work, attempt=2), completed(work, attempt=2))
    assert worker.expect(Settled).outcome == "final"


def test_what_is_given_back_is_pushed_again(worker, acme):
    fresh(acme)
    work = worker.expect(Execute)
    worker.send(rejected(work))
    assert worker.expect(Settled).outcome == "requeued"
    again = worker.expect(Execute)
    assert (again.run, again.generation) == (work.run, 2)
    worker.send(completed(again))
    worker.expect(Settled)


def test_a_parent_waits_without_a_place(connect, acme):
    raw = connect()
    raw.hello(capacity=1)
    fresh(acme, "parent")
    parent = raw.expect(Execute)
    raw.send(started(parent))
    until(lambda: get(parent.run).status == "EXECUTING")
    child = ask(acme.scope, parent_run_id=get(parent.run).pk, resume_parent=True, now=clock.now())
    raw.send(suspended(parent, child.waitpoint_id))
    assert raw.expect(Settled).outcome == "waiting"
    work = raw.expect(Execute)  # in the only place
    raw.send(completed(work, output='"for you"'))
    resume = raw.expect(Resume)
    assert (resume.run, resume.generation, resume.results[0].output) == (
        parent.run, 2, '"for you"',
    )  # fmt: skip
    raw.send(completed(parent, generation=2))
    raw.expect(Settled, run=parent.run, outcome="final")


def test_a_cancellation_is_told_at_once(worker, acme):
    run_id = fresh(acme)
    work = worker.expect(Execute)
    worker.send(started(work))
    until(lambda: get(run_id).status == "EXECUTING")
    cancel_run(acme.scope, run_id=run_id, reason="enough", now=clock.now())
    cancel = worker.expect(Cancel)
    assert (cancel.run, cancel.reason) == (work.run, "enough")
    worker.send(failed(work, outcome="canceled"))
    worker.expect(Settled)
    assert get(run_id).status == "CANCELED"


def test_a_suspended_run_that_is_canceled_is_stale(worker, acme):
    fresh(acme, "parent")
    parent = worker.expect(Execute)
    child = ask(acme.scope, parent_run_id=get(parent.run).pk, resume_parent=True,
                delay_until=clock.now().replace(year=2030), now=clock.now())  # fmt: skip
    worker.send(suspended(parent, child.waitpoint_id))
    worker.expect(Settled)
    cancel_run(acme.scope, run_id=get(parent.run).pk, now=clock.now())
    assert worker.expect(Stale).run == parent.run


def test_charlies_worker_gets_nothing_of_alices(connect, acme, worker):
    globex = factories.globex()
    version(globex.production, "hello")
    theirs = connect(secret=globex.secret)
    theirs.hello()
    fresh(acme)
    work = worker.expect(Execute)
    theirs.send(completed(work))
    assert theirs.expect(Stale).run == work.run
    fresh(globex)
    mine = theirs.expect(Execute)
    assert mine.context["organization"]["slug"] == "globex"
    for raw, one in ((worker, work), (theirs, mine)):
        raw.send(completed(one))
        raw.expect(Settled)
    assert theirs.heard == []


# -- Beats -------------------------------------------------------------------------------------


def test_a_beat_prolongs_what_is_held_and_tells_what_is_not(worker, acme):
    fresh(acme)
    work = worker.expect(Execute)
    worker.send(started(work))
    until(lambda: get(work.run).status == "EXECUTING")
    before = Lease.objects.get().expires_at
    lost = Held(run=public_id("run", get(work.run).pk).replace("0", "1"), generation=3)
    worker.send(Beat(holding=[Held(run=work.run, generation=1), lost]))
    assert worker.expect(Stale) == Stale(run=lost.run, generation=3)
    assert Lease.objects.get().expires_at > before
    worker.send(completed(work))
    worker.expect(Settled)


@pytest.mark.parametrize("held", [Held(run="nonsense", generation=1), Held(run="", generation=1)])
def test_a_beat_that_makes_no_sense_is_malformed(worker, held):
    worker.send(Beat(holding=[held]))
    assert "not a run id" in worker.expect(Malformed).detail


@pytest.mark.parametrize("generation", [-1, 2**31, 2**70])
def test_an_impossible_generation_poisons_no_beat(worker, connect, acme, generation):
    fresh(acme)
    work = worker.expect(Execute)
    other = connect()
    other.hello(capacity=0)
    other.send(Beat(holding=[Held(run=work.run, generation=generation)]))
    worker.send(Beat(holding=[Held(run=work.run, generation=9)]))
    assert worker.expect(Stale).generation == 9
    worker.send(completed(work))
    worker.expect(Settled)


def test_a_place_whose_run_never_came_is_not_lost(connect, acme):
    raw = connect()
    raw.hello(capacity=1)
    fresh(acme)
    lost = raw.expect(Execute)  # and the worker knows nothing of it
    second = fresh(acme)
    for _ in range(3):
        raw.send(Beat(holding=[]))
    work = raw.expect(Execute)
    assert work.run == public_id("run", second)
    raw.send(completed(work), completed(lost))
    for _ in range(2):
        raw.expect(Settled)


# -- Coming back -------------------------------------------------------------------------------


def test_a_worker_keeps_its_runs_over_a_fresh_socket_while_the_old_one_dangles(connect, acme):
    old = connect()
    old.hello(capacity=2)
    fresh(acme)
    work = old.expect(Execute)
    old.send(started(work))
    until(lambda: get(work.run).status == "EXECUTING")
    new = connect(session=old.session)
    welcome = new.hello(capacity=2, holding=[Held(run=work.run, generation=1)])
    assert welcome.lost == []
    new.send(completed(work))
    assert new.expect(Settled).outcome == "final"
    old.socket.close()
    fresh(acme)
    again = new.expect(Execute)
    new.send(completed(again))
    new.expect(Settled)
    assert WorkerSession.objects.get().disconnected_at is None
    assert old.heard == []


def test_a_worker_that_is_back_is_told_what_it_lost(connect, acme):
    old = connect()
    old.hello()
    fresh(acme)
    work = old.expect(Execute)
    old.socket.close()
    assert rescue(clock.now() + timedelta(seconds=60)) == 1
    new = connect(session=old.session)
    assert new.hello(capacity=0, holding=[Held(run=work.run, generation=1)]).lost == [work.run]


def test_a_run_that_is_kept_takes_its_place(connect, acme):
    old = connect()
    old.hello(capacity=1)
    fresh(acme)
    work = old.expect(Execute)
    old.send(started(work))
    until(lambda: get(work.run).status == "EXECUTING")
    old.socket.close()
    new = connect(session=old.session)
    new.hello(capacity=1, holding=[Held(run=work.run, generation=1)])
    second = fresh(acme)
    new.send(completed(work))
    new.expect(Settled)
    again = new.expect(Execute)
    assert again.run == public_id("run", second)
    new.send(completed(again))
    new.expect(Settled)


def test_a_suspended_run_that_is_kept_takes_none_and_is_resumed(connect, acme):
    old = connect()
    old.hello(capacity=1)
    fresh(acme, "parent")
    parent = old.expect(Execute)
    child = ask(acme.scope, parent_run_id=get(parent.run).pk, resume_parent=True, now=clock.now())
    old.send(suspended(parent, child.waitpoint_id))
    old.expect(Settled)
    child_work = old.expect(Execute)
    old.send(started(child_work))
    until(lambda: get(child_work.run).status == "EXECUTING")
    old.socket.close()
    new = connect(session=old.session)
    holding = [Held(run=work.run, generation=1) for work in (parent, child_work)]
    assert new.hello(capacity=1, holding=holding).lost == []
    new.send(completed(child_work))  # which wakes the parent, that nobody mentioned again
    assert new.expect(Resume).run == parent.run
    new.send(completed(parent, generation=2))
    new.expect(Settled, run=parent.run)


def test_a_resume_that_was_missed_comes_with_the_welcome(connect, acme):
    old = connect()
    old.hello()
    fresh(acme, "parent")
    parent = old.expect(Execute)
    child = ask(acme.scope, parent_run_id=get(parent.run).pk, resume_parent=True, now=clock.now())
    old.send(suspended(parent, child.waitpoint_id))
    old.send(completed(old.expect(Execute)))
    old.expect(Resume)  # and the worker never saw it
    new = connect(session=old.session)
    new.send(new.greeting(holding=[Held(run=parent.run, generation=1)]))
    assert new.expect(Welcome).lost == []
    assert new.expect(Resume).generation == 2
    new.send(completed(parent, generation=2))
    new.expect(Settled)


def test_another_environment_cannot_take_a_session(connect, acme, worker):
    staging = connect(secret=acme.keys["staging"], session=worker.session)
    version(acme.staging, "hello")
    staging.send(staging.greeting())
    assert "another environment" in staging.expect(Refused).message
