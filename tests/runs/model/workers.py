"""What workers do: claim, start, record, wait, end, leave, beat, vanish, and say things twice."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from apps.core.errors import Conflict
from apps.core.ids import new_id, parse_public_id, public_id
from apps.runs.models import Lease, ReadyRun, Run
from apps.runs.states import RunStatus
from holdfast.protocol import (
    Entry,
    Execute,
    Expected,
    Recorded,
    Resume,
    Settled,
    Stale,
    Steps,
    Timed,
)
from tests.runs.engine import Worker, completed, failed, rejected, started, suspended
from tests.runs.model.floor import some
from tests.runs.model.known import (
    CANCELED,
    COMPLETED,
    DELAYED,
    DEQUEUED,
    ENVIRONMENT_LIMIT,
    EXECUTING,
    QUEUES,
    WAITING,
    WORKERS,
    Held,
    Point,
    Q,
    Step,
    Waiting,
    asleep,
    executing,
    free,
    startable,
    stoppable,
)
from tests.runs.model.people import INPUTS, People

_THINGS = ("child", "token", "time", "input")
_DEEPEST = 3


class Workers(People):
    """Rules for workers; what their tasks ask for outside, they do as people do."""

    # -- Claims --------------------------------------------------------------------------------

    @rule(at=st.integers(0, WORKERS - 1), places=st.integers(1, 3))
    def claim(self, at: int, places: int) -> None:
        """Hand out what may start: in order, all that there is room for, and nothing else."""
        before, line = self._used(), self._line()
        for answer in self._exchange(self.workers[at], places):
            if isinstance(answer, Execute):
                self._given(at, answer)
            elif isinstance(answer, Resume):
                self._resumed(at, answer)
        taken = self._used()[()] - before[()]
        self._is_in_order(line)
        self._nothing_was_left(places - taken)

    def _given(self, at: int, order: Execute) -> None:
        run_id = parse_public_id("run", order.run)
        known = self.runs[run_id]
        assert known.status == Q, "only what is queued is handed out"
        assert known.queue not in self.paused, "nothing is started of a paused queue"
        assert order.generation > known.generation, "a generation came again"
        assert order.is_resumed == known.has_left
        assert order.attempt == known.attempt + (not known.has_left)
        told = {entry.seq: entry.output for entry in order.journal}
        assert told == {seq: step.output for seq, step in known.journal.items()}
        if known.has_left:
            self._check_results(run_id, order.results)
        known.generation = order.generation
        self.held[at][run_id] = Held(work=order, generation=order.generation)
        self._expect(run_id, {DEQUEUED})

    def _resumed(self, at: int, message: Resume) -> None:
        run_id = parse_public_id("run", message.run)
        mine = self.held[at].get(run_id)
        assert mine is not None, "only what is held is resumed"
        assert message.generation > self.runs[run_id].generation, "a generation came again"
        self._check_results(run_id, message.results)
        mine.generation = self.runs[run_id].generation = message.generation
        mine.is_suspended = False
        self._expect(run_id, {EXECUTING})

    def _line(self) -> dict[UUID, tuple[int, Any]]:
        """Who waits for any worker, in which lane and in what place."""
        waiting = ReadyRun.objects.filter(session_id=None)
        return {ready.run_id: (ready.lane_id, ready.order_at) for ready in waiting}

    def _is_in_order(self, line: dict[UUID, tuple[int, Any]]) -> None:
        """First come, first served: of each lane, and by what was asked as well as by its rows."""
        left = self._line()
        first: dict[int, Any] = {}
        for lane, place in left.values():
            first[lane] = min(place, first.get(lane, place))
        for run_id in line.keys() - left.keys():
            lane, place = line[run_id]
            assert place <= first.get(lane, place), "a younger run was handed out first"
            known, self.runs[run_id].place = self.runs[run_id], None
            asked = known.place
            others = [
                each.place
                for other, each in self.runs.items()
                if other in left and each.lane == known.lane and each.place
            ]
            assert asked is None or all(asked <= other for other in others)

    def _nothing_was_left(self, places: int) -> None:
        """Places stayed free only because no run that waits had room, or none waits."""
        used = self._used()
        if places <= 0 or used[()] >= ENVIRONMENT_LIMIT:
            return
        resumable = self._resumable()
        for run_id in Run.objects.filter(status=Q).values_list("pk", flat=True):
            known = self.runs[run_id]
            caps = self.caps[known.queue]
            is_full = (caps.per_key is not None and used[known.lane] >= caps.per_key) or (
                caps.total is not None and used[known.queue,] >= caps.total
            )
            may_not = is_full or known.queue in self.paused or run_id in resumable
            assert may_not, f"{known} had room and was not handed out"

    def _resumable(self) -> set[UUID]:
        """Runs that only the worker that holds their process can go on with."""
        return {
            run_id for held in self.held for run_id, mine in held.items() if mine.is_suspended
        } | set(Lease.objects.filter(holds_slot=False).values_list("run_id", flat=True))

    @some(startable)
    @rule(data=st.data())
    def start(self, data: Any) -> None:
        self._start(*self._pick(data, startable))

    @rule(at=st.integers(0, WORKERS - 1))
    def claim_and_start(self, at: int) -> None:
        self.claim(at, 3)
        self.nothing_moved_but_what_may()
        for run_id, held in list(self.held[at].items()):
            if startable(held):
                self._start(self.workers[at], run_id, held)

    def _start(self, worker: Worker, run_id: UUID, held: Held) -> None:
        if self._say(worker, started(held.now)) == []:
            held.is_started = True
            known = self.runs[run_id]
            known.attempt, known.has_left = held.work.attempt, False
            self._expect(run_id, {EXECUTING})

    # -- Ends ----------------------------------------------------------------------------------

    @some(executing)
    @rule(data=st.data())
    def complete(self, data: Any) -> None:
        mine = self._pick(data, executing)
        self._end(*mine, completed(mine[2].now), {COMPLETED})

    @some(executing)
    @rule(data=st.data(), pause=st.sampled_from([None, 100, 20_000]), rewinds=st.booleans())
    def fail(self, data: Any, pause: int | None, rewinds: bool) -> None:
        mine = self._pick(data, executing)
        _, run_id, held = mine
        known = self.runs[run_id]
        seqs = (
            [data.draw(st.sampled_from(sorted(known.journal)))] if rewinds and known.journal else []
        )
        is_last = pause is None or held.work.attempt >= held.work.max_attempts
        ends = {RunStatus.FAILED} if is_last else {Q, DELAYED, EXECUTING}
        message = failed(held.now, retry_delay_ms=pause, rewind=seqs)
        if self._end(*mine, message, ends | {CANCELED}) != "final" and seqs:
            known.forget(seqs[0])

    @some(startable)
    @rule(data=st.data(), is_fault=st.booleans())
    def reject(self, data: Any, is_fault: bool) -> None:
        mine = self._pick(data, startable)
        may = {Q, DELAYED, CANCELED, RunStatus.SYSTEM_FAILURE}
        self._end(*mine, rejected(mine[2].now, is_fault=is_fault), may)

    @some(stoppable)
    @rule(data=st.data())
    def stop_as_told(self, data: Any) -> None:
        mine = self._pick(data, stoppable)
        self._end(*mine, failed(mine[2].now, outcome="canceled"), {CANCELED})

    def _end(
        self, worker: Worker, run_id: UUID, held: Held, message: Any, expected: set[RunStatus]
    ) -> str:
        (answer,) = self._say(worker, message)
        if isinstance(answer, Stale):
            self._forget(worker, run_id)
            return "final"  # for this worker
        assert isinstance(answer, Settled)
        self._expect(run_id, expected)
        if answer.outcome == "retry_here":
            assert answer.attempt is not None
            held.next_attempt(answer.attempt)
        else:
            self._forget(worker, run_id)
        return answer.outcome

    # -- Steps ---------------------------------------------------------------------------------

    @some(executing)
    @rule(data=st.data(), count=st.integers(1, 3), is_repeated=st.booleans())
    def record_steps(self, data: Any, count: int, is_repeated: bool) -> None:
        """What is acknowledged is kept as it was first told, whatever is told again."""
        worker, run_id, held = self._pick(data, executing)
        journal = self.runs[run_id].journal
        latest = max(journal, default=0)
        first = latest if is_repeated and latest else latest + 1
        entries = [
            Entry(
                seq=seq, position=str(seq), kind="step", name="do", after=seq - 1,
                output=f'"{self.steps}:{seq}"',
            )
            for seq in range(first, first + count)
        ]  # fmt: skip
        order = held.now
        (answer,) = worker.say(
            Steps(run=order.run, generation=order.generation, entries=entries), now=self.now
        )
        if isinstance(answer, Stale):
            self._forget(worker, run_id)
            return
        assert isinstance(answer, Recorded)
        assert answer.through == entries[-1].seq
        for entry in entries:
            journal.setdefault(entry.seq, Step(output=str(entry.output), after=entry.after))

    # -- Waits ---------------------------------------------------------------------------------

    @some(free)
    @rule(
        data=st.data(),
        things=st.lists(st.sampled_from(_THINGS), min_size=1, max_size=3),
        needs_all=st.booleans(),
        releases=st.booleans(),
    )
    def wait_for(self, data: Any, things: list[str], needs_all: bool, releases: bool) -> None:
        """One thing or several, the process kept, or, of a durable run, let go."""
        worker, run_id, held = self._pick(data, free)
        if self.runs[run_id].status != EXECUTING:
            return
        asked = _Asked()
        for thing in things:
            self._ask_for(thing, run_id, asked, data)
        wait = Waiting(list(dict.fromkeys(asked.points)), needs_all)
        self._suspend(worker, run_id, held, wait, asked, release=releases)

    def _ask_for(self, thing: str, run_id: UUID, asked: _Asked, data: Any) -> None:
        if thing == "child" and len(self._ancestors(run_id)) <= _DEEPEST:
            self._child(run_id, asked, data)
        elif thing == "time":
            seconds = data.draw(st.sampled_from([3, 30]), label="seconds")
            point_id = self._own_point(Point(due_at=self._in(seconds), is_time=True), asked)
            asked.times.append(Timed(id=public_id("waitpoint", point_id), due_ms=self._ms(seconds)))
        elif thing == "input":
            self._item(run_id, asked, data)
        else:
            known = data.draw(st.sampled_from([None, *self._tokens()]), label="token")
            asked.points.append(known or self._token(40))

    def _child(self, run_id: UUID, asked: _Asked, data: Any) -> None:
        queue = data.draw(st.sampled_from(sorted(QUEUES)), label="queue")
        if self.runs[run_id].is_stopping:
            with pytest.raises(Conflict):
                self._trigger(queue, None, parent_run_id=run_id, resume_parent=True)
            return
        child = self._trigger(queue, None, parent_run_id=run_id, resume_parent=True)
        self._expect(child, {Q})
        self.runs[run_id].children.append(child)
        self.runs[child].parent = run_id
        asked.points.append(self.waitpoint)

    def _item(self, run_id: UUID, asked: _Asked, data: Any) -> None:
        """The next item of an input, or one that is there already."""
        key = data.draw(st.sampled_from(INPUTS), label="input")
        sent = self.inputs.get((run_id, key), [])
        seq = data.draw(st.integers(0, len(sent)), label="seq")
        point = Point(due_at=self._in(50), item=(run_id, key, seq))
        point_id = self._own_point(point, asked)
        name = public_id("waitpoint", point_id)
        asked.inputs.append(Expected(id=name, key=key, seq=seq, due_ms=self._ms(50)))
        if seq < len(sent):
            self._close(point, ok=True, output=sent[seq][1])

    def _own_point(self, point: Point, asked: _Asked) -> UUID:
        point_id = new_id()
        self.points[point_id] = point
        asked.points.append(point_id)
        return point_id

    def _ms(self, seconds: float) -> int:
        return round((self.now + timedelta(seconds=seconds)).timestamp() * 1000)

    def _suspend(
        self, worker: Worker, run_id: UUID, held: Held, wait: Waiting, asked: _Asked, **how: Any
    ) -> None:
        need = "all" if wait.needs_all else "any"
        message = suspended(
            held.now, *wait.points, times=asked.times, inputs=asked.inputs, need=need, **how
        )
        (answer,) = self._say(worker, message)
        if isinstance(answer, Stale):
            self._forget(worker, run_id)
            return
        assert isinstance(answer, Settled)
        known = self.runs[run_id]
        if answer.outcome == "final":
            self._forget(worker, run_id)
            self._expect(run_id, {CANCELED})
            return
        known.wait = wait
        if answer.outcome == "released":
            known.has_left = True
            self._forget(worker, run_id)
        else:
            assert answer.outcome == "waiting"
            held.is_suspended = True
        goes = how.get("left") or (how.get("release") and not self._is_over(run_id))
        assert known.has_left == bool(goes)
        self._expect(run_id, {WAITING if known.status == EXECUTING else known.status})

    @some(asleep)
    @rule(data=st.data())
    def wait_for_one_more(self, data: Any) -> None:
        worker, run_id, held = self._pick(data, asleep)
        known = self.runs[run_id]
        if known.status == WAITING and known.wait:
            points = [*known.wait.points, self._token(40)]
            wait = Waiting(points, known.wait.needs_all)
            self._suspend(worker, run_id, held, wait, _Asked())

    @some(asleep)
    @rule(data=st.data())
    def leave(self, data: Any) -> None:
        """The process of a durable run is gone, whether it has been woken meanwhile or not."""
        worker, run_id, held = self._pick(data, asleep)
        known = self.runs[run_id]
        if known.status in {WAITING, Q} and known.wait:
            self._suspend(worker, run_id, held, known.wait, _Asked(), release=True, left=True)

    # -- Beats, losses, repetitions ------------------------------------------------------------

    @rule(at=st.integers(0, WORKERS - 1))
    def beat(self, at: int) -> None:
        self._beat(at)

    @rule(at=st.integers(0, WORKERS - 1))
    def lose_a_worker(self, at: int) -> None:
        """SIGKILL: nothing is said, and a fresh one takes its place."""
        self.workers[at], self.held[at] = Worker(self.version), {}

    @precondition(lambda self: self.said)
    @rule(data=st.data())
    def repeat_an_old_message(self, data: Any) -> None:
        """What a connection delivers a second time must change nothing."""
        worker, message = data.draw(st.sampled_from(self.said), label="message")
        lease = Lease.objects.filter(pk=parse_public_id("run", message.run)).first()
        is_current = (
            lease is not None
            and lease.generation == message.generation
            and lease.session_id == worker.session_id
        )
        if not is_current:
            (answer,) = worker.say(message, now=self.now)
            assert isinstance(answer, Stale)


class _Asked:
    """What a suspension names, and what it makes itself."""

    def __init__(self) -> None:
        self.points: list[UUID] = []
        self.times: list[Timed] = []
        self.inputs: list[Expected] = []
