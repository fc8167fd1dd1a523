"""A lone trigger hands its run to a worker of its own process, in its own transaction."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import OperationalError, connection, transaction

from apps.core import facts
from apps.core.ids import public_id
from apps.deployments.models import Queue
from apps.environments.models import Environment
from apps.runs.facts import RunsReady
from apps.runs.models import Lease, ReadyRun
from apps.runs.operations import at_hand
from apps.runs.operations.at_hand import Hand
from apps.runs.operations.claim import Claimed
from apps.runs.operations.duties import rescue
from apps.runs.operations.exchange import exchange
from apps.runs.operations.reports import Answer, Report
from apps.runs.operations.together import Asked, trigger_together
from apps.runs.operations.trigger import TriggerRequest
from apps.runs.operations.versions import apply_queues
from apps.runs.policy import Debounce
from holdfast.protocol import Completed, Execute, Stale
from tests.runs.engine import NOW, Worker, completed, get, kinds, later, trigger, unsound, version
from tests.runs.test_together import at_commit
from tests.runs.threads import together

pytestmark = pytest.mark.django_db(transaction=True)


@dataclass
class Here:
    """The places of one worker, as the dispatcher of this process would lend them."""

    worker: Worker
    lent: int = 0
    sent: list[Answer] = field(default_factory=list)

    def reserve(self, environment_id: UUID) -> Hand:
        assert environment_id == self.worker.version.environment_id
        self.lent += 1
        return Hand(offers=[self.worker.offer(free=1)], give_back=self.take_back)

    def take_back(self, claimed: Claimed) -> None:
        self.lent -= 1
        # whatever is sent is true by then
        assert not connection.in_atomic_block or transaction.get_connection().run_on_commit == []
        self.sent += claimed.answers

    @property
    def works(self) -> list[Execute]:
        return [answer.message for answer in self.sent if isinstance(answer.message, Execute)]


@pytest.fixture
def here(worker) -> Iterator[Here]:
    lender = Here(worker)
    at_hand.attend(lender.reserve)
    yield lender
    at_hand.attend(lambda _: Hand())
    assert lender.lent == 0
    assert unsound(now=NOW) == []


@pytest.fixture
def rung(monkeypatch) -> list[UUID]:
    """The environments that were told of, so that others look."""
    heard: list[UUID] = []
    table = dict(facts._listeners)
    table[RunsReady] = (lambda fact: heard.append(fact.environment_id),)
    monkeypatch.setattr(facts, "_listeners", table)
    return heard


def call(acme, task: str = "hello", **fields: Any) -> Any:
    request = TriggerRequest(task=task, **fields)
    return trigger_together([Asked(scope=acme.scope, request=request)], now=NOW)[0]


def limit(acme, name: str = "task/hello", **fields: Any) -> None:
    """Have a queue as it says, before anything is in it."""
    Queue.objects.update_or_create(
        environment=acme.production, name=name, defaults={"created_at": NOW, **fields}
    )
    apply_queues(acme.production.pk, now=NOW)


def test_a_free_worker_of_this_process_gets_the_run_with_its_commit(acme, here, rung):
    run_id = call(acme).run_id
    [work] = here.works
    assert work.run == public_id("run", run_id)
    assert kinds(run_id) == ["triggered", "dequeued"]
    assert (Lease.objects.get().claimed_at, ReadyRun.objects.count()) == (NOW, 0)
    assert rung == []  # nothing is left to look for
    here.worker.say(completed(work), now=NOW)
    assert get(run_id).status == "COMPLETED"


def test_without_a_free_place_it_is_left_in_the_queue(acme, worker, rung):
    run_id = call(acme).run_id
    assert (get(run_id).status, rung) == ("QUEUED", [acme.production.pk])


@pytest.mark.parametrize(
    "narrow",
    [
        lambda acme: limit(acme, concurrency_limit=1),
        lambda acme: limit(acme, total_limit=1),
        lambda acme: limit(acme, rate={"limit": 1, "period": 60, "burst": 1}),
        lambda acme: limit(acme, key_rate={"limit": 1, "period": 60, "burst": 1}),
        lambda acme: Environment.objects.update(concurrency_limit=1),
        lambda acme: type(acme.organization).objects.update(concurrency_limit=1),
    ],
    ids=["key", "queue", "rate", "rate of keys", "environment", "organization"],
)
def test_limits_hold(acme, here, rung, narrow):
    narrow(acme)
    rung.clear()
    first, second = call(acme).run_id, call(acme).run_id
    assert [work.run for work in here.works] == [public_id("run", first)]
    assert (get(second).status, rung) == ("QUEUED", [acme.production.pk])


@pytest.mark.parametrize(
    "hold",
    [
        lambda acme: limit(acme, paused_at=NOW),
        lambda acme: Environment.objects.update(paused_at=NOW),
    ],
    ids=["queue", "environment"],
)
def test_what_is_paused_stays_so(acme, here, hold):
    hold(acme)
    run_id = call(acme).run_id
    assert (get(run_id).status, here.works) == ("QUEUED", [])


def test_a_run_that_is_locked_to_another_version_waits_for_its_worker(acme, here, rung):
    version(acme.production, "hello", number="20261124.2", promote=False)
    run_id = call(acme, version="20261124.2").run_id
    assert (get(run_id).status, here.works, rung) == ("QUEUED", [], [acme.production.pk])


def test_one_that_waits_already_comes_first(acme, here, rung):
    older = trigger(acme.scope, now=later(-5))
    rung.clear()
    younger = call(acme).run_id
    assert [work.run for work in here.works] == [public_id("run", older)]
    assert (get(younger).status, rung) == ("QUEUED", [acme.production.pk])


@pytest.mark.parametrize(
    "fields",
    [
        {"delay_until": later(60)},
        {"debounce": Debounce(key="k", delay=timedelta(seconds=5))},
        {"task": "not there yet"},
    ],
    ids=["delayed", "debounced", "no version"],
)
def test_one_that_may_not_start_yet_takes_no_place(acme, here, rung, fields):
    call(acme, **fields)
    assert (here.works, rung, Lease.objects.count()) == ([], [], 0)


def test_a_collected_one_waits_for_its_company(acme, here):
    fields = {"collect": {"size": 2, "seconds": 60}}
    version(acme.production, "many", number="20261124.3", **fields)
    call(acme, task="many", payload="1")
    assert here.works == []


def test_a_repeated_call_hands_nothing_out_twice(acme, here):
    first = call(acme, request_key="one")
    assert call(acme, request_key="one") == first
    assert len(here.works) == Lease.objects.count() == 1


def test_a_refused_call_gives_its_places_back(acme, here):
    assert isinstance(call(acme, version="20200101.1"), Exception)
    assert (here.sent, Lease.objects.count()) == ([], 0)


def test_what_was_not_committed_is_not_sent(acme, here):
    with at_commit("RAISE EXCEPTION 'no'"):
        assert isinstance(call(acme), Exception)
    assert (here.sent, Lease.objects.count(), ReadyRun.objects.count()) == ([], 0, 0)


def test_a_commit_whose_answer_is_lost_is_not_sent_either(acme, here):
    with at_commit("PERFORM pg_terminate_backend(pg_backend_pid())"):
        assert isinstance(call(acme), OperationalError)
    assert here.sent == []


def test_a_run_whose_worker_goes_before_it_hears_is_handed_out_again(acme, here):
    run_id = call(acme).run_id
    [lost] = here.works  # nobody gets it: the process has ended, or the connection
    rescue(later(11))
    other = Worker(here.worker.version)
    [work] = other.claim(now=later(11))
    assert (work.run, work.generation) == (public_id("run", run_id), lost.generation + 1)
    assert isinstance(here.worker.say(completed(lost), now=later(12))[0], Stale)
    other.say(completed(work), now=later(12))
    assert get(run_id).status == "COMPLETED"


def test_many_at_once_exceed_no_limit(acme, here):
    limit(acme, concurrency_limit=2)

    def one() -> Any:
        return call(acme)

    def turn() -> None:
        exchange([], [Worker(here.worker.version).offer()], now=NOW)

    together(*[one] * 6, turn, turn)
    assert Lease.objects.count() <= 2
    assert Lease.objects.count() + ReadyRun.objects.count() == 6
    ended: list[UUID] = []
    while Lease.objects.exists():
        reports = [_end(lease) for lease in Lease.objects.all()]
        exchange(reports, [here.worker.offer()], now=NOW)
        assert Lease.objects.count() <= 2
        ended += [report.run_id for report in reports]
    assert len(set(ended)) == len(ended) == 6


def _end(lease: Lease) -> Report:
    run = public_id("run", lease.run_id)
    message = Completed(run=run, generation=lease.generation, attempt=1, executed_ms=5)
    return Report(session_id=lease.session_id, run_id=lease.run_id, message=message)
