"""What workers report: applied under the right generation, once, and each by itself."""

from __future__ import annotations

import pytest

from apps.core.ids import public_id
from apps.runs.limits import limits
from apps.runs.models import Attempt, Lease, ReadyRun, Timer, Waitpoint
from apps.runs.operations.cancel import cancel_run
from apps.runs.operations.duties import queue_due, rescue
from apps.runs.operations.exchange import exchange
from apps.runs.operations.reports import Report, as_failure
from apps.runs.queries import attempts
from holdfast.protocol import Malformed, MetadataChanged, Settled, Stale
from tests.runs.engine import (
    ERROR,
    Worker,
    ask,
    completed,
    failed,
    get,
    kinds,
    later,
    rejected,
    started,
    suspended,
    trigger,
    unknown_run,
    unsound,
    version,
)

pytestmark = pytest.mark.django_db


def changed(work, *operations, **fields) -> MetadataChanged:
    given = {"run": work.run, "generation": work.generation, "operations": list(operations)}
    return MetadataChanged(**given | fields)


# -- Starts ------------------------------------------------------------------------------------


def test_a_start_makes_an_attempt_and_locks_the_version(acme, worker, work):
    run = get(work.run)
    (attempt,) = attempts(acme.scope, run.pk)
    assert (attempt.number, attempt.status, attempt.generation) == (1, "EXECUTING", 1)
    assert (run.version_id, run.delivery_count) == (worker.version.pk, 0)
    assert Lease.objects.get().attempt_id == attempt.pk


def test_a_start_takes_the_time_to_live_away(acme):
    worker = Worker(version(acme.production, "hello", ttl_seconds=60))
    trigger(acme.scope)
    assert Timer.objects.exists()
    worker.start(*worker.claim())
    assert not Timer.objects.exists()


def test_a_start_that_is_repeated_changes_nothing(worker, work):
    assert worker.start(work, now=later(1)) == []
    assert Attempt.objects.count() == 1
    assert kinds(work.run).count("started") == 1


def test_an_end_without_a_start_implies_one(acme, worker):
    trigger(acme.scope)
    (work,) = worker.claim()
    (answer,) = worker.say(completed(work))
    assert answer.outcome == "final"
    assert kinds(work.run) == ["triggered", "dequeued", "started", "completed"]


def test_the_engine_counts_attempts_itself(acme, worker):
    trigger(acme.scope)
    (work,) = worker.claim()
    worker.say(started(work, attempt=99))
    assert get(work.run).attempt_count == 1


# -- Ends --------------------------------------------------------------------------------------


def test_a_completion_closes_everything(worker, work):
    worker.say(completed(work, output='{"a":1}', output_type="application/json", executed_ms=70))
    run, attempt = get(work.run), Attempt.objects.get()
    assert (run.status, run.output, run.executed_ms) == ("COMPLETED", '{"a":1}', 70)
    assert (attempt.status, attempt.executed_ms) == ("COMPLETED", 70)
    assert attempt.finished_at is not None
    assert unsound() == []


def test_an_output_may_be_nothing(worker, work):
    worker.say(completed(work, output=None))
    assert get(work.run).output is None


def test_an_output_that_is_too_large_fails_the_run(worker, work):
    (answer,) = worker.say(completed(work, output="x" * (limits().output_bytes + 1)))
    run = get(work.run)
    assert answer.outcome == "final"
    assert (run.status, run.output, run.error["code"]) == ("FAILED", None, "TASK_OUTPUT_ERROR")
    assert str(limits().output_bytes) in run.error["message"]


def test_a_failure_without_a_retry_is_the_end(worker, work):
    (answer,) = worker.say(failed(work, executed_ms=3))
    run, attempt = get(work.run), Attempt.objects.get()
    assert answer.outcome == "final"
    assert (run.status, run.error, run.executed_ms) == ("FAILED", ERROR, 3)
    assert (attempt.status, attempt.error) == ("FAILED", ERROR)


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        ("failed", "FAILED"),
        ("crashed", "CRASHED"),
        ("timed_out", "TIMED_OUT"),
        ("canceled", "CANCELED"),
        ("system_failure", "SYSTEM_FAILURE"),
    ],
)
def test_each_outcome_has_its_status(worker, work, outcome, status):
    worker.say(failed(work, outcome=outcome))
    assert get(work.run).status == status


def test_the_last_attempt_is_not_retried(acme):
    worker = Worker(version(acme.production, "hello", retry={"maxAttempts": 2}))
    trigger(acme.scope)
    (work,) = worker.claim()
    (answer,) = worker.say(failed(work, retry_delay_ms=0))
    assert (answer.outcome, answer.attempt) == ("retry_here", 2)
    (answer,) = worker.say(failed(work, attempt=2, retry_delay_ms=0))
    assert answer.outcome == "final"
    run = get(work.run)
    assert (run.status, run.attempt_count) == ("FAILED", 2)


@pytest.mark.parametrize("outcome", ["timed_out", "canceled"])
def test_a_run_that_was_stopped_is_not_retried(worker, work, outcome):
    (answer,) = worker.say(failed(work, outcome=outcome, retry_delay_ms=0))
    assert answer.outcome == "final"


# -- Retries -----------------------------------------------------------------------------------


def test_a_short_retry_stays_with_its_worker(worker, work):
    (answer,) = worker.say(failed(work, retry_delay_ms=2_000, executed_ms=4))
    run, lease = get(work.run), Lease.objects.get()
    assert (answer.outcome, answer.attempt, answer.delay_ms) == ("retry_here", 2, 2_000)
    assert (run.status, run.attempt_count, run.executed_ms) == ("EXECUTING", 1, 4)
    assert (lease.is_started, lease.holds_slot, lease.attempt_id) == (False, True, None)
    assert lease.expires_at == later(2 + limits().delivery_seconds)
    worker.say(started(work, attempt=2), completed(work, attempt=2, executed_ms=5), now=later(3))
    run = get(work.run)
    assert (run.status, run.attempt_count, run.executed_ms) == ("COMPLETED", 2, 9)
    assert list(Attempt.objects.values_list("number", "status")) == [
        (1, "FAILED"),
        (2, "COMPLETED"),
    ]
    assert unsound() == []


def test_a_long_retry_goes_back_and_waits(worker, work):
    (answer,) = worker.say(failed(work, retry_delay_ms=60_000))
    run = get(work.run)
    assert (answer.outcome, run.status, run.delayed_until) == ("requeued", "DELAYED", later(60))
    assert unsound() == []
    assert queue_due(later(59)) == 0
    assert queue_due(later(60)) == 1
    (again,) = worker.claim(now=later(61))
    assert (again.attempt, again.generation) == (2, 2)


def test_a_retry_of_a_crash_goes_to_another_process(worker, work):
    (answer,) = worker.say(failed(work, outcome="crashed", retry_delay_ms=0))
    assert answer.outcome == "requeued"
    assert get(work.run).status == "QUEUED"
    assert len(worker.claim()) == 1


@pytest.mark.parametrize("delay", [10**30, -5])
def test_an_absurd_delay_is_bounded(worker, work, delay):
    (answer,) = worker.say(failed(work, outcome="crashed", retry_delay_ms=delay))
    assert answer.outcome == "requeued"


@pytest.mark.parametrize("executed", [-1, 10**40])
def test_an_absurd_execution_time_is_bounded(worker, work, executed):
    (answer,) = worker.say(completed(work, executed_ms=executed))
    assert answer.outcome == "final"


def test_a_retry_that_its_worker_never_starts_goes_back(worker, work):
    worker.say(failed(work, retry_delay_ms=1_000))
    assert rescue(later(12)) == 1
    run = get(work.run)
    assert (run.status, run.attempt_count) == ("QUEUED", 1)
    assert worker.claim(now=later(13))[0].attempt == 2


def test_the_end_of_an_attempt_that_was_settled_is_answered_again(worker, work):
    worker.say(failed(work, retry_delay_ms=2_000))
    again = worker.say(started(work), failed(work, retry_delay_ms=2_000), now=later(0.5))
    assert [(answer.outcome, answer.attempt, answer.delay_ms) for answer in again] == [
        ("retry_here", 2, 1_500)
    ]
    assert Attempt.objects.count() == 1


def test_the_same_end_twice_in_a_batch_is_answered_once(worker, work):
    answers = worker.say(failed(work, retry_delay_ms=0), failed(work, retry_delay_ms=0))
    assert [answer.outcome for answer in answers] == ["retry_here"]


def test_the_end_of_an_old_attempt_does_not_end_the_present_one(worker, work):
    worker.say(failed(work, retry_delay_ms=0))
    worker.say(started(work, attempt=2))
    assert worker.say(completed(work, attempt=1)) == []
    assert get(work.run).status == "EXECUTING"


# -- Given back --------------------------------------------------------------------------------


def test_what_is_given_back_keeps_its_place(acme, worker):
    first, second = trigger(acme.scope), trigger(acme.scope, now=later(1))
    (work,) = worker.claim(free=1)
    (answer,) = worker.say(rejected(work, "too busy"), now=later(5))
    run = get(first)
    assert (answer.outcome, run.status, run.status_reason) == ("requeued", "QUEUED", "too busy")
    assert unsound() == []
    assert [get(w.run).pk for w in worker.claim(now=later(6))] == [first, second]


def test_many_are_given_back_at_once(acme, worker):
    for _ in range(10):
        trigger(acme.scope)
    works = worker.claim()
    answers = worker.say(*(rejected(work) for work in works))
    assert {answer.outcome for answer in answers} == {"requeued"}
    assert ReadyRun.objects.count() == 10
    assert unsound() == []


def test_what_is_given_back_again_and_again_rests_and_at_last_fails(acme, worker):
    run_id = trigger(acme.scope)
    now, pauses = 0.0, []
    for _ in range(limits().deliveries_per_attempt):
        (work,) = worker.claim(now=later(now))
        worker.say(rejected(work, "no memory"), now=later(now))
        run = get(run_id)
        if run.status == "DELAYED":
            pauses.append((run.delayed_until - later(now)).total_seconds())
            now += pauses[-1]
            assert queue_due(later(now)) == 1
    assert pauses[:6] == [1, 2, 4, 8, 16, 30]
    run = get(run_id)
    assert (run.status, run.error["code"]) == ("SYSTEM_FAILURE", "TASK_RUN_DEQUEUED_MAX_RETRIES")
    assert "no memory" in run.status_reason


def test_a_run_that_was_only_taken_ahead_is_returned_without_a_fault(acme, worker):
    run_id = trigger(acme.scope)
    for second in range(limits().deliveries_per_attempt + 5):
        (work,) = worker.claim(now=later(second))
        worker.say(rejected(work, "taken ahead", is_fault=False), now=later(second))
    assert get(run_id).status == "QUEUED"
    assert get(run_id).delivery_count == 0


def test_what_its_worker_was_to_try_again_is_returned_without_a_fault_too(worker, work):
    worker.say(failed(work, retry_delay_ms=0))
    (answer,) = worker.say(rejected(work, "it ends", is_fault=False))
    run = get(work.run)
    assert (answer.outcome, run.status, run.delivery_count) == ("requeued", "QUEUED", 0)
    assert unsound() == []


def test_a_start_forgives_earlier_deliveries(acme, worker):
    run_id = trigger(acme.scope)
    for _ in range(3):
        worker.say(rejected(*worker.claim()))
    worker.start(*worker.claim())
    assert get(run_id).delivery_count == 0


def test_giving_back_what_has_started_costs_an_attempt(acme):
    worker = Worker(version(acme.production, "hello", retry={"maxAttempts": 1}))
    run_id = trigger(acme.scope)
    (work,) = worker.claim()
    worker.say(started(work), rejected(work, "it hangs"))
    run = get(run_id)
    assert (run.status, run.error["message"]) == ("SYSTEM_FAILURE", "it hangs")


def test_a_retry_may_be_given_back_too(worker, work):
    worker.say(failed(work, retry_delay_ms=0))
    (answer,) = worker.say(rejected(work))
    assert answer.outcome == "requeued"
    assert (get(work.run).status, get(work.run).attempt_count) == ("QUEUED", 1)
    assert unsound() == []


# -- Stale -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message", [started, completed, failed, rejected, suspended, changed], ids=lambda m: m.__name__
)
def test_a_stale_generation_changes_nothing_and_is_told_so(acme, worker, message):
    run_id = trigger(acme.scope)
    (old,) = worker.claim()
    rescue(later(60))
    other = Worker(worker.version)
    (new,) = other.claim(now=later(61))
    before = (kinds(run_id), get(run_id).status)
    (answer,) = worker.say(message(old), now=later(62))
    assert answer == Stale(run=old.run, generation=old.generation)
    assert (kinds(run_id), get(run_id).status) == before
    assert other.say(completed(new))[0].outcome == "final"


def test_another_session_cannot_report(acme, worker, work):
    (answer,) = Worker(worker.version).say(completed(work))
    assert isinstance(answer, Stale)
    assert get(work.run).status == "EXECUTING"


def test_an_unknown_run_is_stale(worker, work):
    name = public_id("run", unknown_run())
    (answer,) = worker.say(completed(work, run=name))
    assert answer == Stale(run=name, generation=1)


def test_an_end_that_is_repeated_is_stale(worker, work):
    first, second = worker.say(completed(work), completed(work, output='"other"'))
    assert (first.outcome, type(second)) == ("final", Stale)
    assert get(work.run).output == '"done"'
    assert isinstance(worker.say(failed(work))[0], Stale)
    assert kinds(work.run).count("completed") == 1


# -- Hostile content ---------------------------------------------------------------------------


def test_characters_that_postgresql_cannot_hold_poison_nothing(acme, worker):
    for _ in range(4):
        trigger(acme.scope)
    one, two, three, four = worker.claim()
    answers = worker.say(
        changed(one, {"type": "set", "key": "a\0", "value": "b\0\ud800"}),
        completed(one, output="a\0b\ud800", output_type="text/plain\0"),
        failed(two, error={"type": "STRING_ERROR", "raw": "x\0y", "more\0": ["\udfff"]}),
        rejected(three, "no\0"),
        completed(four),
    )
    assert [answer.outcome for answer in answers] == ["final", "final", "requeued", "final"]
    assert (get(one.run).output, get(one.run).output_type) == ("a\ufffdb\ufffd", "text/plain\ufffd")
    assert get(one.run).metadata == {"a\ufffd": "b\ufffd\ufffd"}
    assert get(two.run).error["raw"] == "x\ufffdy"
    assert get(three.run).status_reason == "no\ufffd"
    assert unsound() == []


def test_an_error_that_is_too_large_is_cut(worker, work):
    huge = {"type": "BUILT_IN_ERROR", "message": "m" * 10**6, "stackTrace": "é" * 10**6, "x": [1]}
    worker.say(failed(work, error=huge))
    error = get(work.run).error
    assert error["type"] == "BUILT_IN_ERROR"
    assert error["message"].startswith("mmm")
    assert len(str(error)) < limits().error_bytes


def test_metadata_that_makes_no_sense_is_refused_and_the_rest_goes_on(worker, work):
    answers = worker.say(
        changed(work, {"type": "explode", "key": "a"}),
        changed(work, {"type": "set", "key": "big", "value": "x" * limits().metadata_bytes}),
        changed(work, {"type": "set", "key": "fine", "value": 1}),
        completed(work),
    )
    assert [type(answer) for answer in answers] == [Malformed, Malformed, Settled]
    assert get(work.run).metadata == {"fine": 1}
    assert get(work.run).status == "COMPLETED"


def test_metadata_of_the_generation_before_a_resume_still_counts(acme, worker):
    trigger(acme.scope, "parent")
    (parent,) = worker.claim()
    child = ask(acme.scope, parent_run_id=get(parent.run).pk, resume_parent=True)
    worker.say(suspended(parent, child.waitpoint_id))
    worker.say(completed(*worker.claim()))
    (resume,) = worker.resume()
    assert resume.generation == parent.generation + 1
    assert worker.say(changed(parent, {"type": "set", "key": "a", "value": 1})) == []
    assert get(parent.run).metadata == {"a": 1}


def test_what_cannot_be_settled_ends_its_run(worker, work):
    report = Report(session_id=worker.session_id, run_id=get(work.run).pk, message=completed(work))
    instead = as_failure(report, "DataError('no\0')")
    (answer,) = exchange([instead], [], now=later(1))
    assert answer.message.outcome == "final"
    run = get(work.run)
    assert (run.status, run.error["code"]) == ("SYSTEM_FAILURE", "TASK_EXECUTION_FAILED")


def test_a_wait_that_cannot_be_settled_ends_its_run_too(worker, work):
    message = suspended(work)
    report = Report(session_id=worker.session_id, run_id=get(work.run).pk, message=message)
    exchange([as_failure(report, "no")], [], now=later(1))
    assert get(work.run).status == "SYSTEM_FAILURE"


def test_nothing_is_reported_instead_of_a_start(worker, work):
    report = Report(session_id=worker.session_id, run_id=get(work.run).pk, message=started(work))
    assert as_failure(report, "no") is None


# -- Together ----------------------------------------------------------------------------------


def test_reports_of_many_workers_are_settled_together(acme, worker):
    other = Worker(worker.version)
    for _ in range(6):
        trigger(acme.scope)
    mine, others = worker.claim(free=3), other.claim(free=3)
    reports = [
        Report(session_id=who.session_id, run_id=get(work.run).pk, message=message(work))
        for who, works in ((worker, mine), (other, others))
        for work, message in zip(works, (completed, failed, rejected), strict=True)
    ]
    answers = exchange(reports, [worker.offer()], now=later(1))
    told = {}
    for answer in answers:
        told.setdefault(answer.session_id, []).append(answer.message.type)
    assert told[other.session_id] == ["settled"] * 3
    # the places that came free are filled in the same turn
    assert told[worker.session_id] == ["settled"] * 3 + ["execute"] * 2
    assert unsound() == []


def test_cancellation_wins_over_a_retry(acme, worker, work):
    cancel_run(acme.scope, run_id=get(work.run).pk, reason="enough", now=later(1))
    (answer,) = worker.say(failed(work, retry_delay_ms=0))
    run = get(work.run)
    assert (answer.outcome, run.status, run.status_reason) == ("final", "CANCELED", "enough")


def test_a_waitpoint_of_a_failed_run_tells_its_error(acme, worker):
    trigger(acme.scope, "parent")
    (parent,) = worker.claim()
    worker.start(parent)
    child = ask(acme.scope, parent_run_id=get(parent.run).pk, resume_parent=True)
    worker.say(failed(*worker.claim()))
    waitpoint = Waitpoint.objects.get(pk=child.waitpoint_id)
    assert (waitpoint.error, waitpoint.completed_at is None) == (ERROR, False)
