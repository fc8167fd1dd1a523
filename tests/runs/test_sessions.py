"""Worker sessions: opened, kept over a broken connection, and told what is not theirs any more."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from apps.core.errors import Invalid, NotFound
from apps.core.ids import public_id
from apps.deployments.models import WorkerSession
from apps.runs.limits import limits
from apps.runs.models import Lease
from apps.runs.operations.cancel import cancel_run
from apps.runs.operations.duties import rescue
from apps.runs.operations.sessions import (
    Beats,
    Kept,
    close_session,
    extend_leases,
    open_session,
    touch_sessions,
)
from holdfast.protocol import Cancel, Held, Hello, Resume, Stale
from tests import factories
from tests.runs.engine import (
    NOW,
    Worker,
    ask,
    completed,
    get,
    later,
    suspended,
    trigger,
    unknown_run,
    version,
)

pytestmark = pytest.mark.django_db

HERE, ELSEWHERE = uuid4(), uuid4()


def hello(worker: Worker | None = None, *works, **fields) -> Hello:
    given = {
        "protocol": 1, "session": str(worker.session_id if worker else uuid4()), "sdk": "test",
        "version": "20261124.1", "capacity": 4,
        "holding": [Held(run=work.run, generation=work.generation) for work in works],
    }  # fmt: skip
    return Hello(**given | fields)


def opened(acme, said, *, coordinator=HERE, now=NOW):
    return open_session(acme.scope, hello=said, coordinator=coordinator, now=now)


# -- Opening -----------------------------------------------------------------------------------


def test_a_session_is_registered_with_what_the_worker_says(acme, worker):
    instance = uuid4()
    said = hello(
        worker, pool="local", machine="large-1x", instance=str(instance), labels={"zone": "a"}
    )
    found = opened(acme, said)
    session = WorkerSession.objects.get()
    assert (session.pk, session.version_id, session.capacity) == (
        worker.session_id, worker.version.pk, 4,
    )  # fmt: skip
    assert (session.pool, session.machine, session.instance_id, session.labels) == (
        "local", "large-1x", instance, {"zone": "a"},
    )  # fmt: skip
    assert (session.coordinator, session.connected_at, session.disconnected_at) == (
        HERE, NOW, None,
    )  # fmt: skip
    assert (found.version_id, found.capacity, found.kept, found.lost, found.missed) == (
        worker.version.pk, 4, (), (), (),
    )  # fmt: skip


def test_a_worker_without_a_version_gets_the_current_one(acme, worker):
    newer = version(acme.production, "hello", number="20261124.2")
    assert opened(acme, hello(version="")).version_id == newer.pk


@pytest.mark.parametrize(
    "fields",
    [
        {"version": "20200101.1"},
        {"machine": "huge"},
        {"session": "not a uuid"},
        {"instance": "not a uuid"},
        {"pool": "p" * 64},
        {"pool": "a\0"},
        {"sdk": "s" * 65},
        {"labels": {"a": "\0"}},
        {"labels": {str(n): "" for n in range(101)}},
    ],
)
def test_a_hello_that_makes_no_sense_is_refused(acme, worker, fields):
    with pytest.raises(Invalid):
        opened(acme, hello(**fields))
    assert not WorkerSession.objects.exists()


def test_an_environment_without_versions_has_no_workers(acme):
    with pytest.raises(Invalid) as caught:
        opened(acme, hello(version=""))
    assert "version" in caught.value.detail


def test_a_held_run_must_be_a_run(acme, worker):
    with pytest.raises(NotFound):
        opened(acme, hello(holding=[Held(run="run_\0", generation=1)]))


def test_charlies_worker_cannot_take_alices_session(acme, worker, charlie):
    opened(acme, hello(worker))
    with pytest.raises(Invalid, match="another environment"):
        opened(charlie, hello(worker))


# -- Coming back -------------------------------------------------------------------------------


def test_a_worker_that_is_back_within_its_lease_keeps_its_runs(acme, worker, work):
    opened(acme, hello(worker))
    close_session(worker.session_id, coordinator=HERE, now=later(1))
    found = opened(acme, hello(worker, work), coordinator=ELSEWHERE, now=later(30))
    run_id = get(work.run).pk
    assert found.kept == (Kept(run_id=run_id, generation=1, is_suspended=False),)
    assert found.lost == ()
    assert Lease.objects.get().expires_at == later(30 + limits().lease_seconds)
    session = WorkerSession.objects.get()
    assert (session.connected_at, session.disconnected_at, session.coordinator) == (
        NOW, None, ELSEWHERE,
    )  # fmt: skip


def test_a_worker_that_is_back_too_late_is_told_what_it_lost(acme, worker, work):
    rescue(later(60))
    found = opened(acme, hello(worker, work), now=later(61))
    assert (found.kept, found.lost) == ((), (work.run,))


def test_what_another_worker_holds_by_now_is_lost(acme, worker):
    trigger(acme.scope)
    (work,) = worker.claim()
    rescue(later(10))
    Worker(worker.version).claim(now=later(11))
    assert opened(acme, hello(worker, work), now=later(12)).lost == (work.run,)


def test_a_process_of_an_earlier_delivery_is_not_the_run_that_was_delivered_again(acme, worker):
    trigger(acme.scope)
    (work,) = worker.claim()
    rescue(later(10))
    (again,) = worker.claim(now=later(11))
    assert again.generation == work.generation + 1
    assert opened(acme, hello(worker, work), now=later(12)).lost == (work.run,)


def test_charlie_keeps_nothing_of_alices(acme, worker, work, charlie):
    found = opened(charlie, hello(None, work))
    assert (found.kept, found.lost) == ((), (work.run,))
    assert Lease.objects.get().expires_at == later(limits().lease_seconds)


@pytest.mark.parametrize("generation", [0, -1, 2**31, 10**30])
def test_a_generation_that_cannot_be_is_not_asked_about(acme, worker, work, generation):
    said = hello(worker, holding=[Held(run=work.run, generation=generation)])
    found = opened(acme, said)
    assert (found.kept, found.lost) == ((), ())


@pytest.fixture
def waiting(acme, worker):
    """A suspended parent whose child has ended."""
    parent = trigger(acme.scope, "parent")
    (work,) = worker.claim()
    worker.start(work)
    child = ask(acme.scope, parent_run_id=parent, resume_parent=True)
    worker.say(suspended(work, child.waitpoint_id))
    return work


def test_a_suspended_run_is_kept_as_suspended(acme, worker, waiting):
    (kept,) = opened(acme, hello(worker, waiting)).kept
    assert kept.is_suspended


def test_a_resume_that_was_missed_is_sent_again(acme, worker, waiting):
    worker.say(completed(*worker.claim()))
    worker.resume()
    found = opened(acme, hello(worker, waiting))
    (resume,) = found.missed
    assert isinstance(resume, Resume)
    assert (resume.run, resume.generation, len(resume.results)) == (waiting.run, 2, 1)
    assert found.kept == (
        Kept(run_id=get(waiting.run).pk, generation=2, is_suspended=False),
    )  # fmt: skip


def test_a_cancellation_that_was_missed_is_sent_again(acme, worker, work):
    cancel_run(acme.scope, run_id=get(work.run).pk, reason="stop", now=NOW)
    (message,) = opened(acme, hello(worker, work)).missed
    assert (type(message), message.reason) == (Cancel, "stop")


# -- Beats -------------------------------------------------------------------------------------


def test_beats_of_many_workers_are_written_together(acme, worker, work):
    other = Worker(worker.version)
    trigger(acme.scope)
    (theirs,) = other.claim()
    other.start(theirs)
    mine, gone = get(work.run).pk, unknown_run()
    extended = extend_leases(
        [
            Beats(session_id=worker.session_id, generations={mine: 1, gone: 3}),
            Beats(session_id=other.session_id, generations={get(theirs.run).pk: 1}),
        ],
        now=later(20),
    )
    (answer,) = extended.answers
    assert (answer.session_id, answer.message) == (
        worker.session_id, Stale(run=public_id("run", gone), generation=3),
    )  # fmt: skip
    assert set(extended.kept) == {worker.session_id, other.session_id}
    expiries = set(Lease.objects.values_list("expires_at", flat=True))
    assert expiries == {later(20 + limits().lease_seconds)}


@pytest.mark.calm("it counts statements")
def test_nobodys_beats_are_no_work(django_assert_num_queries):
    with django_assert_num_queries(0):
        assert extend_leases([Beats(session_id=UUID(int=1))], now=NOW).answers == []


def test_a_session_that_beats_is_seen(acme, worker):
    opened(acme, hello(worker))
    close_session(worker.session_id, coordinator=HERE, now=later(1))
    touch_sessions([worker.session_id], now=later(2))
    session = WorkerSession.objects.get()
    assert (session.seen_at, session.disconnected_at) == (later(2), None)


def test_a_connection_that_ends_late_does_not_close_its_successor(acme, worker):
    opened(acme, hello(worker))
    opened(acme, hello(worker), coordinator=ELSEWHERE)
    close_session(worker.session_id, coordinator=HERE, now=later(1))
    assert WorkerSession.objects.get().disconnected_at is None


def test_the_environment_of_a_session_is_the_keys(acme, worker):
    staging = factories.key_scope(acme.staging)
    with pytest.raises(Invalid):
        open_session(staging, hello=hello(worker), coordinator=HERE, now=NOW)
