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

from apps.core.ids import new_id, parse_public_id, public_id
from apps.runs.models import Batch, Run, RunEvent
from apps.runs.operations import bulk, duties
from apps.runs.operations.batch import (
    BatchItemRequest,
    abandon_batches,
    add_batch_items,
    create_batch,
)
from apps.runs.operations.bulk import (
    advance_bulk_action,
    create_bulk_action,
    stalled_bulk_actions,
)
from apps.runs.operations.cancel import cancel_run
from apps.runs.operations.inputs import Item, send_input
from apps.runs.operations.requests import TriggerRequest
from apps.runs.operations.waitpoints import complete_token, create_token
from apps.runs.states import FINAL, BulkKind, RunStatus
from apps.schedules.models import Tick
from apps.schedules.operations.manage import ScheduleRequest, create_schedule
from apps.schedules.operations.tick import tick_schedules
from holdfast.protocol import Entry, Execute, Expected, Message, Resume, Settled, Stale, Steps
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
ALL = bool(os.environ.get("HOLDFAST_TEST_ALL"))
_USUAL_STEP = 4  # to die at each commit of the longer story takes a while


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


# -- Death where runs wait, are woken, filled in and ticked ----------------------------------------


def _days(number: int) -> datetime:
    return NOW + timedelta(days=number)


class Tale:
    """Waits, their ends, a batch, a bulk action and a tick, told by one process, commit by commit.

    Its day lies after all earlier ones, so that nothing of theirs is due any more.
    """

    def __init__(self, scope, version, day: datetime) -> None:
        self.scope = scope
        self.worker = Worker(version)
        self.day = day

    def tell(self) -> None:
        self._wait_and_wake()
        self._fill_a_batch()
        delayed = ask(self.scope, delay_until=self.day + timedelta(days=30), now=self.day).run_id
        action = create_bulk_action(
            self.scope, kind=BulkKind.CANCEL, run_ids=[delayed], now=self.day
        )
        advance_bulk_action(action.pk, clock=lambda: self.day)
        tick_schedules(self.day)

    def _started(self, task: str = "hello") -> Execute:
        ask(self.scope, task, now=self.day)
        (order,) = [one for one in self.worker.claim(now=self.day) if one.task == task]
        self.worker.start(order, now=self.day)
        return order

    def _wait_and_wake(self) -> None:
        """A durable run records, is let go of, and has all that it waits for."""
        order, item = self._started(), new_id()
        entry = Entry(seq=1, position="1", kind="step", name="charge", output="1")
        self._say(Steps(run=order.run, generation=order.generation, entries=[entry]))
        token = create_token(self.scope, now=self.day).waitpoint_id
        hour = round((self.day + timedelta(hours=1)).timestamp() * 1000)
        asked = Expected(id=public_id("waitpoint", item), key="go", seq=0, due_ms=hour)
        self._say(suspended(order, token, item, inputs=[asked], need="all", release=True))
        run_id = parse_public_id("run", order.run)
        send_input(self.scope, run_id=run_id, item=Item(key="go", data="1"), now=self.day)
        complete_token(self.scope, waitpoint_id=token, output="1", now=self.day)
        (again,) = self.worker.claim(now=self.day)
        self._say(completed(again))

    def _fill_a_batch(self) -> None:
        """A parent waits for a batch that is filled item by item, and for its last run's end."""
        parent = self._started("parent")
        batch = create_batch(
            self.scope, run_count=2, parent_run_id=parse_public_id("run", parent.run),
            resume_parent=True, now=self.day,
        )  # fmt: skip
        self._say(suspended(parent, batch.waitpoint_id))
        for index in range(2):
            item = BatchItemRequest(index=index, request=TriggerRequest(task="hello"))
            add_batch_items(self.scope, batch_id=batch.batch_id, items=[item], now=self.day)
        for order in self.worker.claim(now=self.day):
            self._say(completed(order))
        (resumed,) = self.worker.resume(now=self.day)
        self._say(_completed_later(resumed, 1))

    def _say(self, message: Any) -> None:
        self.worker.say(message, now=self.day)


def _recover(acme, worker: Worker, day: datetime) -> None:
    """What the other processes do by themselves, once that one is dead."""
    shop = Shop(acme.scope, Worker(worker.version))
    shop.now = day + timedelta(hours=2)
    tick_schedules(shop.now)
    abandon_batches(shop.now)
    for action_id in stalled_bulk_actions(shop.now):
        advance_bulk_action(action_id, clock=lambda: shop.now)
    for run in Run.objects.filter(status=RunStatus.DELAYED):  # whom nobody had asked to cancel
        cancel_run(acme.scope, run_id=run.pk, now=shop.now)
    shop.work_until_all_end()


def test_a_process_may_die_before_any_commit_of_waits_batches_bulk_and_ticks(
    acme, worker, monkeypatch
):
    """To die before the next one is to die after this one: what is kept is the same."""
    monkeypatch.setattr(bulk, "DEFAULT_PERIOD", timedelta(days=3_650))  # ids are of the real clock
    request = ScheduleRequest(task="hello", interval_seconds=86_400)
    create_schedule(acme.scope, request=request, deduplication_key="daily", now=NOW)
    tale = Tale(acme.scope, worker.version, _days(2))
    total = _commits(tale.tell, die_at=None, after=False)
    assert total > 20

    for die_at in range(1, total + 1, 1 if ALL else _USUAL_STEP):
        day = _days(2 * die_at + 2)
        _commits(Tale(acme.scope, worker.version, day).tell, die_at=die_at, after=False)
        _recover(acme, worker, day)
        assert unsound(now=day + timedelta(hours=2)) == []
    check()
    assert not Batch.objects.filter(completed_at=None).exists()
    ticked = Tick.objects.exclude(run_id=None).values_list("run_id", flat=True)
    assert set(ticked) == set(Run.objects.exclude(schedule_id=None).values_list("pk", flat=True))
