"""The place of all stories: what is there, and the comparison with the model after each step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

from django.db import transaction
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition

from apps.core.ids import parse_public_id
from apps.deployments.models import Queue
from apps.deployments.operations import queues
from apps.environments.models import Environment
from apps.runs.explanation import explain_run
from apps.runs.models import Lease, Run, RunEvent
from apps.runs.operations import duties
from apps.runs.operations.sessions import Beats, extend_leases
from apps.runs.operations.versions import apply_queues
from apps.runs.states import FINAL, RunStatus
from holdfast.protocol import Cancel, Execute, Message, Stale, WaitpointResult
from tests import factories
from tests.runs.engine import NOW, Worker, completed, illegal_moves, unsound, version
from tests.runs.model.known import (
    COMPLETED,
    DELAYED,
    ENVIRONMENT_LIMIT,
    QUEUES,
    WAITING,
    WORKERS,
    Caps,
    Held,
    Known,
    Point,
    Q,
    Waiting,
)

_ROUNDS = 90
DONE = '"done"'


def some(fits: Callable[[Held], bool]) -> Any:
    """A rule for when a worker holds a run that fits."""
    return precondition(lambda self: self._found(fits))


class Floor(RuleBasedStateMachine):
    """One environment, two workers, one clock that only the story turns."""

    told: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        # A transaction of its own: within one, all stories' dead rows would slow the next ones.
        self._story = transaction.atomic()
        self._story.__enter__()
        self.now = self.looked_at = NOW
        self.tenant = factories.acme()
        self.scope = self.tenant.scope
        production = self.tenant.production
        Environment.objects.filter(pk=production.pk).update(
            concurrency_limit=ENVIRONMENT_LIMIT, burst_factor=1
        )
        for name, caps in QUEUES.items():
            Queue.objects.create(
                environment=production, name=name, concurrency_limit=caps.per_key,
                total_limit=caps.total, created_at=NOW,
            )  # fmt: skip
        self.version = version(production, "hello")
        self.workers = [Worker(self.version) for _ in range(WORKERS)]
        self.held: list[dict[UUID, Held]] = [{} for _ in range(WORKERS)]
        self.runs: dict[UUID, Known] = {}
        self.points: dict[UUID, Point] = {}
        self.inputs: dict[tuple[UUID, str], list[tuple[str | None, str]]] = {}
        self.keys: dict[str, tuple[UUID, datetime]] = {}
        self.token_keys: dict[str, tuple[UUID, datetime]] = {}
        self.caps: dict[str, Caps] = dict(QUEUES)
        self.paused: set[str] = set()
        self.said: list[tuple[Worker, Any]] = []
        self.may_move: dict[UUID, set[RunStatus]] = {}
        self.used: Counter[tuple[str, ...]] = Counter()
        self.steps = 0

    def teardown(self) -> None:
        try:
            self._drain()
            self._check_history()
            self.told.update(stories=1, steps=self.steps, runs=len(self.runs))
        finally:
            transaction.set_rollback(True)
            self._story.__exit__(None, None, None)

    # -- The comparison ------------------------------------------------------------------------

    @invariant()
    def nothing_moved_but_what_may(self) -> None:
        stand = {
            run_id: RunStatus(status) for run_id, status in Run.objects.values_list("pk", "status")
        }
        assert stand.keys() == self.runs.keys(), "a run is lost, or came from nowhere"
        before = {run_id: known.status for run_id, known in self.runs.items()}
        for run_id, status in stand.items():
            self.runs[run_id].status = status
        for run_id, status in stand.items():
            allowed = self._allowed(run_id, before[run_id])
            assert status in allowed, f"{before[run_id]} became {status}, not {allowed}"
            if status in FINAL or (status == DELAYED and before[run_id] in {WAITING, Q}):
                # a new attempt, and an end, know nothing of what was waited for
                self.runs[run_id].wait, self.runs[run_id].has_left = None, False
        self.may_move = {}

    def _allowed(self, run_id: UUID, before: RunStatus) -> set[RunStatus]:
        """Whoever waits is woken when that is over, and not before."""
        allowed = self.may_move.get(run_id) or {before}
        if WAITING in allowed and self._is_over(run_id):
            return allowed - {WAITING} | {Q}
        return allowed

    def _is_over(self, run_id: UUID) -> bool:
        wait = self.runs[run_id].wait
        if wait is None:
            return False
        happened = [self._has_happened(point) for point in wait.points]
        return all(happened) if wait.needs_all else any(happened)

    def _has_happened(self, point_id: UUID) -> bool:
        point = self.points[point_id]
        return self.runs[point.ends].status in FINAL if point.ends else point.ok is not None

    @invariant()
    def everything_is_sound(self) -> None:
        """What was overdue when the engine looked has been done."""
        assert unsound(now=self.looked_at) == []

    @invariant()
    def no_limit_is_exceeded(self) -> None:
        """What was started under a higher limit goes on, and nothing is added to it."""
        used = self._used()
        for place, many in used.items():
            cap = self._cap(place)
            assert cap is None or many <= max(cap, self.used[place]), f"{many} of {cap} in {place}"
        self.used = used

    def _cap(self, place: tuple[str, ...]) -> int | None:
        match place:
            case ():
                return ENVIRONMENT_LIMIT
            case (queue,):
                return self.caps[queue].total
        return self.caps[place[0]].per_key

    def _used(self) -> Counter[tuple[str, ...]]:
        """How many slots are held: in all, of each queue, and of each key of a queue."""
        leases = Lease.objects.filter(holds_slot=True).values_list("lane__queue", "lane__key")
        return Counter(
            place for queue, key in leases for place in ((), (queue,), (queue, key))
        )  # fmt: skip

    @invariant()
    def it_can_be_told_why_a_run_does_not_run(self) -> None:
        self.steps += 1
        still = [run_id for run_id, known in self.runs.items() if known.status not in FINAL]
        if still:
            run = Run.objects.get(pk=still[self.steps % len(still)])
            said = explain_run(run)
            assert said.text
            is_paused = run.queue in self.paused and run.status == Q
            assert said.kind != "paused_queue" or is_paused

    # -- The end of the story ------------------------------------------------------------------

    def _drain(self) -> None:
        """From here all goes well: whatever is open must end."""
        for name in QUEUES:
            queues.resume_queue(self.scope, name=name, now=self.now)
            queues.reset_limits(self.scope, name=name, now=self.now)
        apply_queues(self.tenant.production.pk, now=self.now)
        open_runs = Run.objects.exclude(status__in=FINAL)
        for _ in range(_ROUNDS):
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
        self._beat(at)

    def _check_history(self) -> None:
        assert unsound(now=self.now) == []
        assert illegal_moves() == []
        events = RunEvent.objects.values_list("run_id", "kind", "status")
        ends = Counter(run_id for run_id, _, status in events if status in FINAL)
        assert set(ends) == set(self.runs)
        assert set(ends.values()) <= {1}, "a run ended twice"
        kinds = Counter((run_id, kind) for run_id, kind, _ in events)
        for run_id in self.runs:
            assert kinds[run_id, "woken"] <= kinds[run_id, "waiting"], "it was woken twice"

    # -- Small things --------------------------------------------------------------------------

    def _exchange(self, worker: Worker, places: int) -> list[Any]:
        worker.inbox = []
        worker._listen(places, now=self.now)
        answers, worker.inbox = worker.inbox, []
        return answers

    def _beat(self, at: int) -> None:
        worker, held = self.workers[at], self.held[at]
        generations = {run_id: mine.generation for run_id, mine in held.items()}
        beats = Beats(session_id=worker.session_id, generations=generations)
        for answer in extend_leases([beats], now=self.now).answers:
            if isinstance(answer.message, Stale):
                held.pop(parse_public_id("run", answer.message.run), None)
            elif isinstance(answer.message, Cancel):
                held[parse_public_id("run", answer.message.run)].is_told_to_stop = True

    def _found(self, fits: Callable[[Held], bool]) -> list[tuple[int, UUID]]:
        return [
            (at, run_id)
            for at, held in enumerate(self.held)
            for run_id, mine in held.items()
            if fits(mine)
        ]

    def _pick(self, data: Any, fits: Callable[[Held], bool]) -> tuple[Worker, UUID, Held]:
        at, run_id = data.draw(st.sampled_from(self._found(fits)), label="held")
        return self.workers[at], run_id, self.held[at][run_id]

    def _say(self, worker: Worker, message: Any) -> list[Message]:
        self.said.append((worker, message))
        return worker.say(message, now=self.now)

    def _forget(self, worker: Worker, run_id: UUID) -> None:
        self.held[self.workers.index(worker)].pop(run_id, None)

    def _expect(self, run_id: UUID, statuses: set[RunStatus]) -> None:
        self.may_move[run_id] = set(statuses)

    def _close(self, point: Point, *, ok: bool, output: str | None = None) -> None:
        """It has happened, and once: what is told of it stays so."""
        assert point.ok is None
        point.ok, point.output = ok, output

    def _look(self, now: datetime) -> None:
        """What the engine completes by itself when it looks at this moment."""
        for point in self.points.values():
            if point.ok is None and point.ends is None and point.due_at and point.due_at <= now:
                self._close(point, ok=point.is_time)

    def _results(self, run_id: UUID) -> dict[UUID, tuple[bool, str | None]]:
        """What a run is told of what it waited for when it goes on."""
        wait = self.runs[run_id].wait or Waiting([], needs_all=False)
        return {each: self._result(each) for each in wait.points if self._has_happened(each)}

    def _result(self, point_id: UUID) -> tuple[bool, str | None]:
        point = self.points[point_id]
        if point.ends:
            ok = self.runs[point.ends].status == COMPLETED
            return ok, DONE if ok else None
        return bool(point.ok), point.output

    def _check_results(self, run_id: UUID, results: Sequence[WaitpointResult]) -> None:
        told = {parse_public_id("waitpoint", each.id): (each.ok, each.output) for each in results}
        assert told == self._results(run_id), "it is told something else than has happened"
