"""The engine against a model of it: any order of what people, workers and clocks may do.

After each step the model says which runs may have moved and to where; every other run must stand as
it stood, every invariant must hold, and no limit may be exceeded. At the end of each story all that
was accepted is brought to an end, exactly once.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from django.db import transaction
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from apps.core.ids import parse_public_id
from apps.environments.models import Environment
from apps.runs.models import Lease, Run, RunEvent
from apps.runs.operations import duties
from apps.runs.operations.cancel import cancel_run
from apps.runs.operations.sessions import Beats, extend_leases
from apps.runs.states import FINAL, RunStatus
from holdfast.protocol import Cancel, Execute, Resume, Settled, Stale
from tests import factories
from tests.runs.engine import (
    NOW,
    Worker,
    ask,
    completed,
    failed,
    illegal_moves,
    rejected,
    started,
    suspended,
    unsound,
    version,
)

ENVIRONMENT_LIMIT = 4
QUEUE_LIMIT = 3
KEY_QUEUE_LIMIT = 1
QUEUES = {"plain": None, "three": QUEUE_LIMIT, "keyed": KEY_QUEUE_LIMIT}
WORKERS = 2
ROUNDS = 60
USUAL_STORIES = 10
STORIES = int(os.environ.get("HOLDFAST_TEST_STORIES", USUAL_STORIES))

Q, DELAYED, DEQUEUED, EXECUTING, WAITING = (
    RunStatus.QUEUED,
    RunStatus.DELAYED,
    RunStatus.DEQUEUED,
    RunStatus.EXECUTING,
    RunStatus.WAITING,
)
RETRIED = {Q, DELAYED}


@dataclass(slots=True)
class Held:
    """What a worker believes of a run: the order it works on, and whether it has begun."""

    work: Execute
    generation: int
    is_started: bool = False
    is_suspended: bool = False
    is_told_to_stop: bool = False

    @property
    def now(self) -> Execute:
        """The order under the generation that it has by now."""
        return Execute(
            run=self.work.run, generation=self.generation, attempt=self.work.attempt,
            max_attempts=self.work.max_attempts, task=self.work.task, payload=None,
            payload_type="", context={},
        )  # fmt: skip


@dataclass(slots=True)
class Known:
    """What the model knows of a run."""

    status: RunStatus
    queue: str
    key: str | None
    children: list[UUID] = field(default_factory=list)
    parent: UUID | None = None


def _startable(held: Held) -> bool:
    return not held.is_started and not held.is_told_to_stop


def _executing(held: Held) -> bool:
    return held.is_started and not held.is_suspended


def _free(held: Held) -> bool:
    return _executing(held) and not held.is_told_to_stop


def _stoppable(held: Held) -> bool:
    return held.is_told_to_stop and not held.is_suspended


def some(fits):
    """A rule for when a worker holds a run that fits; it is given which."""
    return precondition(lambda self: self._found(fits))


class Engine(RuleBasedStateMachine):
    """One environment, two workers, one clock that only the story turns."""

    def __init__(self) -> None:
        super().__init__()
        # A transaction of its own: within one, all stories' dead rows would slow the next ones.
        self._story = transaction.atomic()
        self._story.__enter__()
        self.now = NOW
        self.tenant = factories.acme()
        Environment.objects.filter(pk=self.tenant.production.pk).update(
            concurrency_limit=ENVIRONMENT_LIMIT, burst_factor=1
        )
        made = version(
            self.tenant.production, "hello",
            queues={name: cap for name, cap in QUEUES.items() if cap},
        )  # fmt: skip
        self.version = made
        self.workers = [Worker(made) for _ in range(WORKERS)]
        self.held: list[dict[UUID, Held]] = [{} for _ in range(WORKERS)]
        self.runs: dict[UUID, Known] = {}
        self.said: list[tuple[Worker, object]] = []
        self.may_move: dict[UUID, set[RunStatus]] = {}

    def teardown(self) -> None:
        try:
            self._drain()
            self._check_history()
        finally:
            transaction.set_rollback(True)
            self._story.__exit__(None, None, None)

    @initialize(queues=st.lists(st.sampled_from(sorted(QUEUES)), min_size=3, max_size=6))
    def begin_with_work(self, queues):
        for queue in queues:
            self._expect(self._trigger(queue, None), {Q})

    # -- What people do ------------------------------------------------------------------------

    @rule(
        queue=st.sampled_from(sorted(QUEUES)),
        key=st.sampled_from([None, "a", "b"]),
        delay=st.sampled_from([None, None, 20]),
        ttl=st.sampled_from([None, None, 30]),
        attempts=st.integers(1, 3),
        priority=st.sampled_from([0, 0, 60]),
    )
    def trigger(self, queue, key, delay, ttl, attempts, priority):
        run_id = self._trigger(queue, key, delay, ttl, attempts, priority)
        self._expect(run_id, {DELAYED if delay else Q})

    def _trigger(self, queue, key, delay=None, ttl=None, attempts=3, priority=0, **more) -> UUID:
        asked = ask(
            self.tenant.scope, now=self.now, queue=queue, concurrency_key=key,
            delay_until=self.now + timedelta(seconds=delay) if delay else None,
            ttl=timedelta(seconds=ttl or 0), max_attempts=attempts, priority_seconds=priority,
            **more,
        )  # fmt: skip
        self.runs[asked.run_id] = Known(status=Q, queue=queue, key=key)
        self.waitpoint = asked.waitpoint_id
        return asked.run_id

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def cancel(self, data):
        run_id = data.draw(st.sampled_from(sorted(self.runs)), label="run")
        tree = self._tree(run_id)
        cancel_run(self.tenant.scope, run_id=run_id, now=self.now)
        for each in tree:
            status = self.runs[each].status
            held = status in {DEQUEUED, EXECUTING}
            if status not in FINAL:
                self._expect(each, {status} if held else {RunStatus.CANCELED})
        self._expect_parents(tree)

    def _tree(self, run_id: UUID) -> list[UUID]:
        below = [each for child in self.runs[run_id].children for each in self._tree(child)]
        return [run_id, *below]

    # -- What workers do -----------------------------------------------------------------------

    @rule(at=st.integers(0, WORKERS - 1), free=st.integers(1, 3))
    def claim(self, at, free):
        """Hand out what may start: only what is queued, and all that there is room for."""
        worker, held = self.workers[at], self.held[at]
        before = self._slots()
        for answer in self._exchange(worker, free):
            run_id = parse_public_id("run", answer.run)
            if isinstance(answer, Execute):
                assert self.runs[run_id].status == Q, "only what is queued is handed out"
                held[run_id] = Held(work=answer, generation=answer.generation)
                self._expect(run_id, {DEQUEUED})
            elif isinstance(answer, Resume):
                mine = held.get(run_id)
                assert mine is not None, "only what is held is resumed"
                mine.generation, mine.is_suspended = answer.generation, False
                self._expect(run_id, {EXECUTING})
        taken = sum(self._slots().values()) - sum(before.values())
        self._nothing_was_left(free - taken)

    def _exchange(self, worker: Worker, free: int):
        worker.inbox = []
        worker._listen(free, now=self.now)
        answers, worker.inbox = worker.inbox, []
        return answers

    def _nothing_was_left(self, free: int) -> None:
        """Places stayed free only because no run that waits had room, or none waits."""
        slots = self._slots()
        if free <= 0 or sum(slots.values()) >= ENVIRONMENT_LIMIT:
            return
        resumable = self._resumable()
        for run_id in Run.objects.filter(status=Q).values_list("pk", flat=True):
            known = self.runs[run_id]
            cap = QUEUES[known.queue]
            is_full = cap is not None and slots[(known.queue, known.key or "")] >= cap
            assert is_full or run_id in resumable, f"{known} had room and was not handed out"

    def _resumable(self) -> set[UUID]:
        """Runs that only the worker that holds their process can go on with."""
        return {
            run_id for held in self.held for run_id, mine in held.items() if mine.is_suspended
        } | {lease.run_id for lease in Lease.objects.filter(holds_slot=False)}

    @some(_startable)
    @rule(data=st.data())
    def start(self, data):
        self._start(*self._pick(data, _startable))

    @rule(at=st.integers(0, WORKERS - 1))
    def claim_and_start(self, at):
        self.claim(at, 3)
        self.nothing_moved_but_what_may()
        for run_id, held in list(self.held[at].items()):
            if _startable(held):
                self._start(self.workers[at], run_id, held)

    def _start(self, worker, run_id, held) -> None:
        if self._say(worker, started(held.now)) == []:
            held.is_started = True
            self._expect(run_id, {EXECUTING})

    @some(_executing)
    @rule(data=st.data())
    def complete(self, data):
        mine = self._pick(data, _executing)
        self._end(*mine, completed(mine[2].now), {RunStatus.COMPLETED})

    @some(_executing)
    @rule(data=st.data(), pause=st.sampled_from([None, 100, 20_000]))
    def fail(self, data, pause):
        mine = self._pick(data, _executing)
        is_last = pause is None or mine[2].work.attempt >= mine[2].work.max_attempts
        ends = {RunStatus.FAILED} if is_last else {*RETRIED, EXECUTING}
        self._end(*mine, failed(mine[2].now, retry_delay_ms=pause), ends | {RunStatus.CANCELED})

    @some(_startable)
    @rule(data=st.data())
    def reject(self, data):
        mine = self._pick(data, _startable)
        self._end(*mine, rejected(mine[2].now), {Q, RunStatus.CANCELED})

    @some(_stoppable)
    @rule(data=st.data())
    def stop_as_told(self, data):
        mine = self._pick(data, _stoppable)
        self._end(*mine, failed(mine[2].now, outcome="canceled"), {RunStatus.CANCELED})

    def _end(self, worker, run_id, held, message, expected) -> None:
        (answer,) = self._say(worker, message)
        if isinstance(answer, Stale):
            self._forget(worker, run_id)
            return
        assert isinstance(answer, Settled)
        self._expect(run_id, expected)
        self._expect_parents([run_id])
        if answer.outcome == "retry_here":
            held.is_started = False
            held.work = Execute(**{**_fields(held.work), "attempt": answer.attempt})
        else:
            self._forget(worker, run_id)

    @some(_free)
    @rule(data=st.data(), queue=st.sampled_from(sorted(QUEUES)))
    def wait_for_a_child(self, data, queue):
        worker, run_id, held = self._pick(data, _free)
        if self.runs[run_id].status != EXECUTING or len(self._ancestors(run_id)) > 3:
            return
        child = self._trigger(queue, None, parent_run_id=run_id, resume_parent=True)
        self._expect(child, {Q})
        self.runs[run_id].children.append(child)
        self.runs[child].parent = run_id
        answers = self._say(worker, suspended(held.now, self.waitpoint))
        if answers and isinstance(answers[0], Stale):
            self._forget(worker, run_id)
        elif answers[0].outcome == "waiting":
            held.is_suspended = True
            self._expect(run_id, {WAITING})
        else:
            self._forget(worker, run_id)
            self._expect(run_id, {RunStatus.CANCELED})

    @rule(at=st.integers(0, WORKERS - 1))
    def beat(self, at):
        worker, held = self.workers[at], self.held[at]
        generations = {run_id: mine.generation for run_id, mine in held.items()}
        beats = Beats(session_id=worker.session_id, generations=generations)
        for answer in extend_leases([beats], now=self.now).answers:
            run_id = parse_public_id("run", answer.message.run)
            if isinstance(answer.message, Stale):
                held.pop(run_id, None)
            elif isinstance(answer.message, Cancel):
                held[run_id].is_told_to_stop = True

    @rule(at=st.integers(0, WORKERS - 1))
    def lose_a_worker(self, at):
        """SIGKILL: nothing is said, and a fresh one takes its place."""
        self.workers[at], self.held[at] = Worker(self.version), {}

    @precondition(lambda self: self.said)
    @rule(data=st.data())
    def repeat_an_old_message(self, data):
        """What a connection delivers a second time must change nothing."""
        worker, message = data.draw(st.sampled_from(self.said), label="message")
        run = Run.objects.get(pk=parse_public_id("run", message.run))
        lease = Lease.objects.filter(pk=run.pk).first()
        is_current = (
            lease is not None
            and lease.generation == message.generation
            and lease.session_id == worker.session_id
        )
        if is_current:
            return
        (answer,) = worker.say(message, now=self.now)
        assert isinstance(answer, Stale)

    # -- What time does ------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([1, 8, 16, 35, 70]))
    def wait(self, seconds):
        self.now += timedelta(seconds=seconds)

    @rule()
    def work_of_the_engine(self):
        self._duties(self.now)

    @rule(seconds=st.sampled_from([30, 3600]))
    def an_engine_whose_clock_is_slow(self, seconds):
        self._duties(self.now - timedelta(seconds=seconds))

    def _duties(self, now: datetime) -> None:
        for run_id, known in self.runs.items():
            if known.status in {DEQUEUED, EXECUTING, WAITING}:
                ends = {Q, DELAYED, RunStatus.CANCELED, RunStatus.CRASHED, RunStatus.SYSTEM_FAILURE}
                self._expect(run_id, {known.status} | ends)
                self._expect_parents([run_id])
            elif known.status == DELAYED:
                self._expect(run_id, {DELAYED, Q, RunStatus.EXPIRED})
            elif known.status == Q:
                ends = {RunStatus.EXPIRED, RunStatus.CRASHED, DELAYED}
                self._expect(run_id, {Q} | ends)
            self._expect_parents([run_id])
        for duty in duties.FAST:
            duty(now)

    # -- The comparison ------------------------------------------------------------------------

    @invariant()
    def nothing_moved_but_what_may(self):
        stand = dict(Run.objects.values_list("pk", "status"))
        assert stand.keys() == self.runs.keys(), "a run is lost, or came from nowhere"
        for run_id, status in stand.items():
            allowed = self.may_move.get(run_id, set()) | {self.runs[run_id].status}
            if self.may_move.get(run_id):
                allowed = self.may_move[run_id]
            assert status in allowed, f"{self.runs[run_id].status} became {status}: {allowed}"
            self.runs[run_id].status = RunStatus(status)
        self.may_move = {}

    @invariant()
    def everything_is_sound(self):
        assert unsound() == []

    @invariant()
    def no_limit_is_exceeded(self):
        slots = self._slots()
        assert sum(slots.values()) <= ENVIRONMENT_LIMIT
        for (queue, _), used in slots.items():
            assert used <= (QUEUES[queue] or ENVIRONMENT_LIMIT)

    def _slots(self) -> Counter[tuple[str, str]]:
        leases = Lease.objects.filter(holds_slot=True).select_related("lane")
        return Counter((lease.lane.queue, lease.lane.key) for lease in leases)

    # -- The end of the story ------------------------------------------------------------------

    def _drain(self) -> None:
        """From here all goes well: whatever is open must end."""
        open_runs = Run.objects.exclude(status__in=FINAL)
        for _ in range(ROUNDS):
            if not open_runs.exists():
                return
            for at in range(WORKERS):
                self._finish_all(at)
            self.now += timedelta(seconds=10)
            for duty in duties.FAST:
                duty(self.now)
        assert list(open_runs.values_list("status", flat=True)) == [], "these never ended"

    def _finish_all(self, at: int) -> None:
        worker, held = self.workers[at], self.held[at]
        for answer in self._exchange(worker, 3):
            run_id = parse_public_id("run", answer.run)
            if isinstance(answer, Execute):
                held[run_id] = Held(work=answer, generation=answer.generation)
            else:
                held[run_id].generation, held[run_id].is_suspended = answer.generation, False
        for run_id, mine in list(held.items()):
            if not mine.is_suspended:
                del held[run_id]
                worker.say(completed(mine.now), now=self.now)
        self.beat(at)

    def _check_history(self) -> None:
        assert unsound() == []
        assert illegal_moves() == []
        ends = Counter(RunEvent.objects.filter(status__in=FINAL).values_list("run_id", flat=True))
        assert set(ends) == set(self.runs)
        assert set(ends.values()) <= {1}, "a run ended twice"

    # -- Small things --------------------------------------------------------------------------

    def _found(self, fits) -> list[tuple[int, UUID]]:
        return [
            (at, run_id)
            for at, held in enumerate(self.held)
            for run_id, mine in held.items()
            if fits(mine)
        ]

    def _pick(self, data, fits) -> tuple[Worker, UUID, Held]:
        at, run_id = data.draw(st.sampled_from(self._found(fits)), label="held")
        return self.workers[at], run_id, self.held[at][run_id]

    def _say(self, worker: Worker, message):
        self.said.append((worker, message))
        return worker.say(message, now=self.now)

    def _forget(self, worker: Worker, run_id: UUID) -> None:
        self.held[self.workers.index(worker)].pop(run_id, None)

    def _ancestors(self, run_id: UUID) -> list[UUID]:
        parent = self.runs[run_id].parent
        return [] if parent is None else [parent, *self._ancestors(parent)]

    def _expect(self, run_id: UUID, statuses: set[RunStatus]) -> None:
        self.may_move[run_id] = set(statuses)

    def _expect_parents(self, run_ids) -> None:
        """An end wakes who waits for it."""
        for run_id in run_ids:
            parent = self.runs[run_id].parent
            if parent is not None and self.runs[parent].status == WAITING:
                self.may_move.setdefault(parent, {WAITING}).update({WAITING, Q})


def _fields(work: Execute) -> dict[str, object]:
    return {name: getattr(work, name) for name in work.__dataclass_fields__ if name != "type"}


@pytest.mark.calm("a story is one transaction, and none of it may fail")
@pytest.mark.timeout(1_800)
@pytest.mark.django_db(transaction=True)
def test_any_order_of_events_leaves_the_engine_sound():
    run_state_machine_as_test(
        Engine,
        settings=settings(
            max_examples=STORIES, stateful_step_count=40, deadline=None, print_blob=True,
            derandomize=STORIES == USUAL_STORIES,  # a usual run tells the same stories each time
            suppress_health_check=list(HealthCheck),
            phases=(Phase.explicit, Phase.generate, Phase.shrink),
        ),
    )  # fmt: skip
