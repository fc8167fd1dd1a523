"""Journals: kept in order under the generation, handed out with the run, cut where it failed."""

from __future__ import annotations

import dataclasses

import pytest

from apps.core.ids import parse_public_id
from apps.runs.models import Attempt, EnvironmentSlots, JournalEntry, Lease, ReadyRun
from apps.runs.operations.cancel import cancel_run
from apps.runs.operations.duties import queue_due, rescue
from apps.runs.operations.journal import journals
from apps.runs.operations.sessions import Beats, extend_leases
from holdfast.protocol import Entry, Recorded, Settled, Stale, Steps
from tests.runs.engine import (
    ERROR,
    NOW,
    Worker,
    ask,
    completed,
    execute,
    failed,
    get,
    kinds,
    later,
    rejected,
    started,
    suspended,
    trigger,
    unsound,
    version,
)

pytestmark = pytest.mark.django_db


def entry(seq: int, **changes) -> Entry:
    given = {"seq": seq, "position": str(seq), "kind": "step", "name": f"step{seq}"}
    return Entry(**given | {"after": seq - 1, "output": f'"{seq}"'} | changes)


def steps(work, *entries: Entry, **changes) -> Steps:
    given = {"run": work.run, "generation": work.generation, "entries": list(entries)}
    return Steps(**given | changes)


def released(work, *waitpoints, **changes):
    return suspended(work, *waitpoints, release=True, **changes)


def wait_for_child(acme, work, **options):
    """A child that the run of `work` waits for."""
    parent = parse_public_id("run", work.run)
    return ask(acme.scope, "child", parent_run_id=parent, resume_parent=True, **options)


@pytest.fixture
def worker(acme):
    return Worker(version(acme.production, "parent", "child"))


@pytest.fixture
def work(acme, worker):
    """A durable run that a worker executes."""
    return execute(acme.scope, worker, "parent")


@pytest.fixture
def parked(acme, worker, work):
    """A run that was let go of after two steps, and the child that it waits for."""
    child = wait_for_child(acme, work)
    worker.say(steps(work, entry(1), entry(2)), released(work, child.waitpoint_id, executed_ms=40))
    return child


def finish_child(worker, *, now=NOW):
    (child,) = worker.claim(now=now)
    worker.say(started(child), completed(child, output='"child"'), now=now)


class TestRecording:
    def test_what_is_reported_is_kept_and_acknowledged(self, worker, work):
        (answer,) = worker.say(steps(work, entry(1), entry(2)))
        assert answer == Recorded(run=work.run, generation=work.generation, through=2)
        kept = JournalEntry.objects.filter(run_id=get(work.run).pk)
        assert [(e.seq, e.name, e.output) for e in kept] == [
            (1, "step1", '"1"'),
            (2, "step2", '"2"'),
        ]

    def test_what_is_said_again_is_kept_once(self, worker, work):
        worker.say(steps(work, entry(1)))
        worker.say(steps(work, entry(1, output='"other"'), entry(2)))
        kept = JournalEntry.objects.filter(run_id=get(work.run).pk)
        assert [(e.seq, e.output) for e in kept] == [(1, '"1"'), (2, '"2"')]

    def test_steps_and_the_end_may_come_together(self, worker, work):
        answers = worker.say(steps(work, entry(1)), completed(work))
        assert [type(answer) for answer in answers] == [Recorded, Settled]
        assert get(work.run).status == "COMPLETED"
        assert JournalEntry.objects.count() == 1
        assert unsound() == []

    def test_a_stale_worker_adds_nothing(self, worker, work):
        (answer,) = worker.say(steps(work, entry(1), generation=work.generation + 1))
        assert isinstance(answer, Stale)
        assert not JournalEntry.objects.exists()

    def test_another_worker_adds_nothing(self, worker, work):
        (answer,) = Worker(worker.version).say(steps(work, entry(1)))
        assert isinstance(answer, Stale)
        assert not JournalEntry.objects.exists()

    def test_an_error_is_kept_with_its_attempts(self, worker, work):
        worker.say(steps(work, entry(1, ok=False, output=None, error=ERROR, attempts=3)))
        (kept,) = JournalEntry.objects.all()
        assert (kept.ok, kept.error, kept.attempts) == (False, ERROR, 3)

    def test_what_postgresql_cannot_keep_is_replaced(self, worker, work):
        worker.say(steps(work, entry(1, output='"a\x00b"', name="n\x00")))
        (kept,) = JournalEntry.objects.all()
        assert (kept.output, kept.name) == ('"a\ufffdb"', "n\ufffd")

    def test_a_journal_that_is_too_long_ends_its_run(self, worker, work, settings):
        settings.LIMITS = dataclasses.replace(settings.LIMITS, journal_entries=2)
        worker.say(steps(work, entry(1), entry(2), entry(3)))
        run = get(work.run)
        assert (run.status, run.error["message"]) == ("FAILED", "a journal has at most 2 entries")
        assert unsound() == []

    def test_a_result_that_is_too_large_ends_its_run(self, worker, work, settings):
        settings.LIMITS = dataclasses.replace(settings.LIMITS, output_bytes=10)
        worker.say(steps(work, entry(1, output="x" * 11)))
        assert "step1" in get(work.run).error["message"]


class TestLettingGo:
    def test_only_rows_stay_of_a_run_that_was_let_go(self, worker, work, parked):
        run = get(work.run)
        assert run.status == "WAITING"
        assert not Lease.objects.filter(pk=run.pk).exists()
        assert EnvironmentSlots.objects.get().used == 0
        assert Attempt.objects.get(run_id=run.pk).finished_at is None
        assert unsound() == []

    def test_the_worker_is_told_to_let_go(self, acme, worker, work):
        child = wait_for_child(acme, work)
        (answer,) = worker.say(released(work, child.waitpoint_id))
        assert (answer.outcome, answer.generation) == ("released", work.generation)

    def test_a_run_that_is_woken_at_once_is_kept(self, acme, worker, work):
        child = wait_for_child(acme, work)
        finish_child(worker)
        (answer,) = worker.say(released(work, child.waitpoint_id))
        assert answer.outcome == "waiting"
        (resume,) = worker.resume()
        assert resume.run == work.run
        assert unsound() == []

    def test_a_run_that_was_held_first_is_let_go_when_it_is_said_again(self, acme, worker, work):
        child = wait_for_child(acme, work)
        (held,) = worker.say(suspended(work, child.waitpoint_id))
        (gone,) = worker.say(released(work, child.waitpoint_id))
        assert (held.outcome, gone.outcome) == ("waiting", "released")
        assert unsound() == []

    def test_a_run_that_was_woken_while_it_was_held_is_not_let_go(self, acme, worker, work):
        child = wait_for_child(acme, work)
        worker.say(suspended(work, child.waitpoint_id))
        finish_child(worker)
        (answer,) = worker.say(released(work, child.waitpoint_id))
        assert answer.outcome == "waiting"
        assert [resume.run for resume in worker.resume()] == [work.run]

    def test_any_worker_of_its_version_gets_it_with_its_journal(self, worker, work, parked):
        finish_child(worker)
        other = Worker(worker.version)
        (again,) = other.claim()
        assert (again.run, again.attempt, again.is_resumed) == (work.run, work.attempt, True)
        assert again.generation > work.generation
        assert [e.seq for e in again.journal] == [1, 2]
        assert again.journal_length == 2
        assert [(r.ok, r.output) for r in again.results] == [(True, '"child"')]
        assert again.attempt_executed_ms == 40

    def test_going_on_costs_no_attempt(self, worker, work, parked):
        finish_child(worker)
        other = Worker(worker.version)
        (again,) = other.claim()
        other.start(again)
        run = get(work.run)
        assert (run.status, run.attempt_count, run.suspended_attempt_id) == ("EXECUTING", 1, None)
        (attempt,) = Attempt.objects.filter(run_id=run.pk)
        assert (attempt.session_id, attempt.generation) == (other.session_id, again.generation)
        assert kinds(run.pk)[-4:] == ["waiting", "woken", "dequeued", "resumed"]
        other.say(completed(again, executed_ms=5))
        attempt.refresh_from_db()
        assert (attempt.status, attempt.executed_ms) == ("COMPLETED", 45)
        assert get(work.run).executed_ms == 45
        assert unsound() == []

    def test_workers_of_other_versions_do_not_get_it(self, acme, worker, work, parked):
        finish_child(worker)
        newer = Worker(version(acme.production, "parent", number="20261124.2"))
        assert newer.claim() == []
        assert [again.run for again in Worker(worker.version).claim()] == [work.run]

    def test_it_comes_before_younger_runs(self, acme, worker, work, parked):
        finish_child(worker, now=later(2))
        trigger(acme.scope, "parent", now=later(1))
        (again,) = Worker(worker.version).claim(now=later(3), free=1)
        assert again.run == work.run

    def test_a_delivery_that_is_lost_does_not_begin_it_anew(self, worker, work, parked):
        finish_child(worker)
        Worker(worker.version).claim()
        rescue(later(20))
        (again,) = Worker(worker.version).claim(now=later(21))
        assert (again.is_resumed, again.attempt, len(again.results)) == (True, 1, 1)
        assert unsound() == []

    def test_a_worker_that_gives_it_back_does_not_begin_it_anew(self, worker, work, parked):
        finish_child(worker)
        other = Worker(worker.version)
        (again,) = other.claim()
        other.say(rejected(again, is_fault=False))
        (once_more,) = Worker(worker.version).claim()
        assert (once_more.is_resumed, once_more.attempt) == (True, 1)

    def test_what_the_former_worker_says_is_stale(self, worker, work, parked):
        (answer,) = worker.say(completed(work))
        assert isinstance(answer, Stale)
        told = [Beats(session_id=worker.session_id, generations={get(work.run).pk: 1})]
        assert [type(a.message) for a in extend_leases(told, now=NOW).answers] == [Stale]

    def test_it_can_be_canceled_at_once(self, acme, worker, work, parked):
        cancel_run(acme.scope, run_id=get(work.run).pk, now=NOW)
        assert get(work.run).status == "CANCELED"
        assert Attempt.objects.get(run_id=get(work.run).pk).status == "CANCELED"
        assert unsound() == []

    def test_it_can_be_canceled_when_it_is_queued_to_go_on(self, acme, worker, work, parked):
        finish_child(worker)
        cancel_run(acme.scope, run_id=get(work.run).pk, now=NOW)
        assert get(work.run).status == "CANCELED"
        assert not ReadyRun.objects.filter(pk=get(work.run).pk).exists()
        assert unsound() == []

    def test_it_can_wait_and_be_let_go_again(self, acme, worker, work, parked):
        finish_child(worker)
        (again,) = worker.claim()
        second = wait_for_child(acme, again)
        worker.say(
            started(again),
            steps(again, entry(3)),
            released(again, second.waitpoint_id, executed_ms=2),
        )
        finish_child(worker)
        (third,) = worker.claim()
        assert [e.seq for e in third.journal] == [1, 2, 3]
        assert [r.run for r in third.results] == [
            r.run for r in third.results if r.id != again.results[0].id
        ]
        assert third.attempt_executed_ms == 42
        assert unsound() == []


class TestRetries:
    def test_the_next_attempt_gets_what_was_recorded(self, worker, work):
        worker.say(steps(work, entry(1)), failed(work, retry_delay_ms=60_000))
        queue_due(later(61))
        (again,) = worker.claim(now=later(61))
        assert (again.attempt, again.is_resumed) == (2, False)
        assert [e.name for e in again.journal] == ["step1"]

    def test_what_failed_the_attempt_is_done_again_with_what_came_of_it(self, worker, work):
        worker.say(
            steps(
                work,
                entry(1),
                entry(2, after=0, position="2.1"),
                entry(3, ok=False, error=ERROR),
                entry(4, after=1, position="3.1"),  # called before the failure was known
                entry(5, after=3),
            ),
            failed(work, retry_delay_ms=60_000, rewind=[3]),
        )
        queue_due(later(61))
        (again,) = worker.claim(now=later(61))
        assert [e.seq for e in again.journal] == [1, 2, 4]

    def test_a_run_that_ends_keeps_its_whole_journal(self, worker, work):
        worker.say(steps(work, entry(1, ok=False, error=ERROR)), failed(work, rewind=[1]))
        assert get(work.run).status == "FAILED"
        assert JournalEntry.objects.count() == 1

    def test_a_lost_worker_costs_an_attempt_and_no_step(self, worker, work):
        worker.say(steps(work, entry(1)))
        rescue(later(120))
        queue_due(later(600))
        (again,) = worker.claim(now=later(600))
        assert (again.attempt, [e.seq for e in again.journal]) == (2, [1])

    def test_a_run_that_was_let_go_fails_as_the_attempt_that_it_is(self, worker, work, parked):
        finish_child(worker)
        (again,) = worker.claim()
        worker.say(started(again), failed(again, executed_ms=7, retry_delay_ms=60_000))
        attempt = Attempt.objects.get(run_id=get(work.run).pk)
        assert (attempt.number, attempt.status, attempt.executed_ms) == (1, "FAILED", 47)
        assert get(work.run).status == "DELAYED"
        assert unsound() == []


class TestHandingOut:
    def test_a_large_journal_is_announced_by_its_length_alone(self, worker, work, settings):
        worker.say(steps(work, entry(1, output="x" * 3_000), entry(2)))
        settings.LIMITS = dataclasses.replace(settings.LIMITS, journal_inline_bytes=1_000)
        handed = journals([get(work.run).pk])[get(work.run).pk]
        assert (handed.entries, handed.length) == ((), 2)

    def test_a_run_without_a_journal_is_handed_out_without(self, worker, work):
        worker.say(failed(work, retry_delay_ms=60_000))
        queue_due(later(61))
        (again,) = worker.claim(now=later(61))
        assert (again.journal, again.journal_length) == ([], 0)

    def test_errors_come_back_as_they_were_kept(self, worker, work):
        worker.say(steps(work, entry(1, ok=False, error=ERROR, digest="d")))
        (kept,) = journals([get(work.run).pk])[get(work.run).pk].entries
        assert (kept.error, kept.ok, kept.digest) == (ERROR, False, "d")
