"""No fault of the database loses a run, ends one twice, or leaves something behind."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection

from apps.core.ids import parse_public_id
from apps.runs.models import Run, RunEvent
from apps.runs.operations import duties
from apps.runs.operations.cancel import cancel_run
from apps.runs.states import FINAL, RunStatus
from holdfast.protocol import Execute, Message, Resume, Settled, Stale
from tests.runs.engine import (
    NOW,
    Worker,
    ask,
    completed,
    failed,
    illegal_moves,
    started,
    suspended,
    unsound,
)
from tests.runs.faults import Faults, RedisFaults, persist

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.calm("it makes its own faults"),
]

RATE = 0.02
OFTEN = 0.2
ROUNDS = 80
RUNS = 12
FEW = 3


class Shop:
    """A few runs of every kind, and one worker that goes on until all have ended.

    Each call is made again until it is reported as done, and each run counts how often its code
    was carried to its end under a generation that the engine acknowledged.
    """

    def __init__(self, scope, worker: Worker, *, runs: int = RUNS) -> None:
        self.scope = scope
        self.runs = runs
        self.worker = worker
        self.now: datetime = NOW
        self.acknowledged: Counter[str] = Counter()
        self._waited: set[str] = set()

    def trigger_all(self) -> list[UUID]:
        kinds = [{"task": "parent"}, {}, {"concurrency_key": "a"}, {"delay_until": self._in(5)}]
        return [self._trigger(**kinds[n % len(kinds)]) for n in range(self.runs)]

    def _trigger(self, **options) -> UUID:
        run_id: UUID = self._ask(**options).run_id
        return run_id

    def _ask(self, **options):
        key = uuid4().hex  # what makes the repetition of a request safe
        return persist(lambda: ask(self.scope, now=self.now, request_key=key, **options))

    def _in(self, seconds: float) -> datetime:
        return self.now + timedelta(seconds=seconds)

    def work_until_all_end(self) -> None:
        for _ in range(ROUNDS):
            if not self._open():
                return
            for order in persist(self._orders):
                self._carry_out(order)
            self.now = self._in(20)
            for duty in duties.FAST:
                persist(lambda duty=duty: duty(self.now))
        assert self._open() == []

    def _orders(self) -> list[Message]:
        # an answer that is lost is lost: its lease runs out, and the run is handed out again
        self.worker.inbox = []
        self.worker._listen(4, now=self.now)
        return self.worker.inbox

    def _open(self) -> list[str]:
        open_runs = Run.objects.exclude(status__in=FINAL)
        return persist(lambda: list(open_runs.values_list("status", flat=True)))

    def _carry_out(self, order: Message) -> None:
        if isinstance(order, Resume):
            self._finish(order, attempt=1)
            return
        assert isinstance(order, Execute)
        if any(isinstance(answer, Stale) for answer in self._say(started(order))):
            return
        if order.task == "parent" and order.run not in self._waited:
            self._waited.add(order.run)
            self._wait_for_a_child(order)
        elif order.attempt == 1 and order.max_attempts > 1 and self._is_unlucky(order):
            self._say(failed(order, retry_delay_ms=10_000))
        else:
            self._finish(order, attempt=order.attempt)

    def _is_unlucky(self, order: Execute) -> bool:
        return parse_public_id("run", order.run).int % 3 == 0

    def _wait_for_a_child(self, order: Execute) -> None:
        parent = parse_public_id("run", order.run)
        child = self._ask(parent_run_id=parent, resume_parent=True)
        self._say(suspended(order, child.waitpoint_id))

    def _finish(self, order: Execute | Resume, *, attempt: int) -> None:
        answers = self._say(completed(order, attempt=attempt) if isinstance(order, Execute)
                            else _completed_later(order, attempt))  # fmt: skip
        self.acknowledged[order.run] += any(isinstance(answer, Settled) for answer in answers)

    def _say(self, message: Message) -> list[Message]:
        return persist(lambda: self.worker.say(message, now=self.now))


def _completed_later(order: Resume, attempt: int):
    work = Execute(
        run=order.run, generation=order.generation, attempt=attempt, max_attempts=3, task="parent",
        payload=None, payload_type="", context={},
    )  # fmt: skip
    return completed(work)


def check() -> None:
    """All that was accepted has ended, once, by allowed moves, and nothing is left over."""
    assert unsound() == []
    assert illegal_moves() == []
    ends = Counter(RunEvent.objects.filter(status__in=FINAL).values_list("run_id", flat=True))
    assert set(ends) == set(Run.objects.values_list("pk", flat=True))
    assert set(ends.values()) == {1}


@pytest.mark.parametrize("seed", range(6))
def test_all_ends_once_though_statements_and_commits_fail(acme, worker, seed):
    shop = Shop(acme.scope, worker)
    faults = Faults(seed=seed, rate=RATE)
    with faults.installed(), RedisFaults(seed=seed, rate=OFTEN).installed():
        accepted = shop.trigger_all()
        shop.work_until_all_end()

    assert faults.made, "this seed makes no fault: it shows nothing"
    # a repeated request made no second run, and none that was accepted is missing
    assert set(accepted) <= set(Run.objects.values_list("pk", flat=True))
    assert Run.objects.filter(parent_id__isnull=True).count() == RUNS
    assert max(shop.acknowledged.values()) == 1
    check()


def test_a_cancellation_that_was_done_but_not_reported_is_done_once(acme, worker):
    run = ask(acme.scope).run_id
    faults = Faults(seed=1, rate=0.3)
    with faults.installed():
        persist(lambda: cancel_run(acme.scope, run_id=run, now=NOW))

    assert faults.made
    assert Run.objects.get(pk=run).status == RunStatus.CANCELED
    check()


# -- Death at each commit --------------------------------------------------------------------------


def _story(acme, worker: Worker) -> Callable[[], None]:
    def tell() -> None:
        shop = Shop(acme.scope, worker, runs=FEW)
        shop.trigger_all()
        shop.work_until_all_end()

    return tell


def _commits(tell: Callable[[], None], *, die_at: int | None, after: bool) -> int:
    """Tell a story in a process of its own that dies at one of its commits; how many it made."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        _die_somewhere(tell, write, die_at=die_at, after=after)
    os.close(write)
    with os.fdopen(read) as counted:
        made = counted.read().count(".")
    os.waitpid(child, 0)
    return made


def _die_somewhere(
    tell: Callable[[], None], write: int, *, die_at: int | None, after: bool
) -> None:
    try:
        connection.connection = None  # the parent's own: not to be closed from here
        made = 0
        database: Any = connection
        commit = database._commit

        def counting() -> None:
            nonlocal made
            made += 1
            if made == die_at and not after:
                os._exit(1)
            commit()
            os.write(write, b".")
            if made == die_at:
                os._exit(1)

        database._commit = counting
        tell()
    finally:
        os._exit(0)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_process_may_die_at_any_of_its_commits(acme, worker, after):
    tell = _story(acme, worker)
    total = _commits(tell, die_at=None, after=after)
    assert total > 12

    for die_at in range(1, total + 1):
        _commits(tell, die_at=die_at, after=after)
        shop = Shop(acme.scope, Worker(worker.version))
        shop.now = NOW + timedelta(hours=die_at)
        for duty in (*duties.FAST, *duties.FAST):
            duty(shop.now)
        shop.work_until_all_end()
        assert unsound() == []
    check()
