"""Where one run may stand, and all that may be done with it there: what is combined by pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from apps.core import clock
from apps.core.errors import DomainError
from apps.core.ids import new_id, public_id
from apps.runs.models import Input, JournalEntry, Run, Waitpoint
from apps.runs.operations import duties
from apps.runs.operations.bulk import advance_bulk_action, create_bulk_action
from apps.runs.operations.cancel import cancel_run
from apps.runs.operations.fork import fork_run
from apps.runs.operations.inputs import Item, WaitRequest, create_input_wait, send_input
from apps.runs.operations.metadata import change_metadata
from apps.runs.operations.replay import replay_run
from apps.runs.operations.requeue import requeue_run
from apps.runs.operations.reschedule import reschedule_run
from apps.runs.operations.sessions import Beats, extend_leases
from apps.runs.operations.tags import add_tags
from apps.runs.operations.trigger import trigger_runs
from apps.runs.operations.waitpoints import (
    block_run,
    block_until,
    complete_called_back,
    complete_due,
    complete_token,
    create_token,
)
from apps.runs.policy import Debounce
from apps.runs.states import FINAL, BulkKind
from holdfast.protocol import Entry, Execute, Expected, Recorded, Resume, Steps, Timed
from tests.runs.engine import (
    NOW,
    Worker,
    ask,
    completed,
    failed,
    get,
    later,
    rejected,
    suspended,
    trigger,
)
from tests.runs.meetings import Shop

Call = Callable[[], Any]
Kept = Callable[[Any], bool]

LATE = 61  # seconds after which leases, tokens, delays and times to live are over
_ROUNDS = 40


@dataclass(slots=True, kw_only=True)
class Stage:
    """A run that has come to some place, who works on it, and what it waits for."""

    shop: Shop
    run_id: UUID
    worker: Worker
    work: Execute | None = None
    points: list[UUID] = field(default_factory=list)
    debounce: str = ""

    @property
    def scope(self) -> Any:
        return self.shop.scope

    @property
    def order(self) -> Execute:
        assert self.work is not None
        return self.work

    def say(self, message: Any, *, seconds: float = 2) -> Any:
        return self.worker.say(message, now=later(seconds))


# -- Where a run may stand ---------------------------------------------------------------------


def queued(shop: Shop) -> Stage:
    return Stage(shop=shop, run_id=trigger(shop.scope, ttl=timedelta(seconds=5)),
                 worker=shop.worker())  # fmt: skip


def delayed(shop: Shop) -> Stage:
    """One that triggers of its key push on."""
    stage = Stage(shop=shop, run_id=new_id(), worker=shop.worker(), debounce=uuid4().hex)
    stage.run_id = _debounced(stage)
    return stage


def dequeued(shop: Shop) -> Stage:
    stage = queued(shop)
    (stage.work,) = stage.worker.claim()
    return stage


def executing(shop: Shop) -> Stage:
    """One with a journal of one step."""
    stage = dequeued(shop)
    stage.worker.start(stage.order)
    stage.say(_steps(stage, 1))
    return stage


def waiting(shop: Shop) -> Stage:
    """For a token, or an item of its input, until a moment."""
    return _asleep(shop)


def let_go(shop: Shop) -> Stage:
    return _asleep(shop, release=True)


def woken(shop: Shop) -> Stage:
    stage = _asleep(shop)
    complete_token(shop.scope, waitpoint_id=stage.points[0], output="1", now=later(2))
    return stage


def stopping(shop: Shop) -> Stage:
    """One that executes and is to be canceled."""
    stage = executing(shop)
    cancel_run(shop.scope, run_id=stage.run_id, now=later(1))
    return stage


def _asleep(shop: Shop, **how: Any) -> Stage:
    stage = executing(shop)
    stage.points = [_token(stage), new_id()]
    item = Expected(id=public_id("waitpoint", stage.points[1]), key="go", seq=0, due_ms=_ms(50))
    stage.say(suspended(stage.order, *stage.points, inputs=[item], **how))
    return stage


def _token(stage: Stage) -> UUID:
    return create_token(stage.scope, timeout_at=later(50), now=NOW).waitpoint_id


def _ms(seconds: float) -> int:
    return round(later(seconds).timestamp() * 1000)


def _steps(stage: Stage, seq: int) -> Steps:
    entry = Entry(seq=seq, position=str(seq), kind="step", name="charge", output="1")
    return Steps(run=stage.order.run, generation=stage.order.generation, entries=[entry])


def _debounced(stage: Stage, seconds: float = 0) -> UUID:
    rule = Debounce(key=stage.debounce, delay=timedelta(seconds=10), is_trailing=True)
    return ask(stage.scope, debounce=rule, now=later(seconds)).run_id


# -- What may be done --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Move:
    """Something that may be done with a run, by `calls` of these operations.

    `prepare` returns the call, and what must be true of the run afterwards by what it answered;
    nothing must when it was refused.
    """

    prepare: Callable[[Stage], tuple[Call, Kept]]
    calls: tuple[Callable[..., Any], ...] = ()

    @property
    def name(self) -> str:
        return self.prepare.__name__


def _nothing(_: Any) -> bool:
    return True


def _said(message: Callable[[Stage], Any]) -> Callable[[Stage], tuple[Call, Kept]]:
    def prepare(stage: Stage) -> tuple[Call, Kept]:
        return lambda: stage.say(message(stage)), _nothing

    return prepare


def claims(stage: Stage) -> tuple[Call, Kept]:
    return lambda: _noted(stage, stage.worker.claim(now=later(2))), _nothing


def _noted(stage: Stage, works: list[Execute]) -> list[Execute]:
    stage.work = works[0] if works else stage.work
    return works


def starts(stage: Stage) -> tuple[Call, Kept]:
    return lambda: stage.worker.start(stage.order, now=later(2)), _nothing


def gives_back(stage: Stage) -> tuple[Call, Kept]:
    return lambda: stage.say(rejected(stage.order, is_fault=False)), _nothing


def completes(stage: Stage) -> tuple[Call, Kept]:
    def kept(answers: Any) -> bool:
        is_stale = getattr(answers[0], "outcome", "") != "final"
        return is_stale or get(stage.run_id).status == "COMPLETED"

    return lambda: stage.say(completed(stage.order)), kept


def crashes(stage: Stage) -> tuple[Call, Kept]:
    message = failed(stage.order, outcome="crashed", retry_delay_ms=60_000)
    return lambda: stage.say(message), _nothing


def tries_again(stage: Stage) -> tuple[Call, Kept]:
    return lambda: stage.say(failed(stage.order, retry_delay_ms=100, rewind=[1])), _nothing


def records(stage: Stage) -> tuple[Call, Kept]:
    """What was acknowledged is kept, unless the attempt begins again from before it."""

    def kept(answers: Any) -> bool:
        is_kept = JournalEntry.objects.filter(run_id=stage.run_id, seq=2).exists()
        return is_kept or not isinstance(answers[0], Recorded)

    return lambda: stage.say(_steps(stage, 2)), kept


def falls_asleep(stage: Stage) -> tuple[Call, Kept]:
    """For four things at once: a token, a child's end, a time, an item."""
    child = trigger(stage.scope, "parent")
    token, time, item = _token(stage), new_id(), new_id()
    ends = create_child_wait(stage, child)
    message = suspended(
        stage.order, token, ends, time, item, need="all",
        times=[Timed(id=public_id("waitpoint", time), due_ms=_ms(3))],
        inputs=[Expected(id=public_id("waitpoint", item), key="go", seq=0, due_ms=_ms(50))],
    )  # fmt: skip
    return lambda: stage.say(message), _nothing


def create_child_wait(stage: Stage, child: UUID) -> UUID:
    """A waitpoint for the end of a run that was triggered before."""
    point = Waitpoint.objects.create(
        environment_id=stage.scope.environment_id, kind="run", run_id=child, created_at=NOW
    )
    return point.pk


def leaves(stage: Stage) -> tuple[Call, Kept]:
    message = suspended(stage.order, *stage.points, release=True, left=True)
    return lambda: stage.say(message), _nothing


def resumes(stage: Stage) -> tuple[Call, Kept]:
    def resume() -> list[Resume]:
        return stage.worker.resume(now=later(2))

    return resume, _nothing


def beats(stage: Stage) -> tuple[Call, Kept]:
    told = Beats(
        session_id=stage.worker.session_id,
        generations={stage.run_id: stage.order.generation},
    )
    return lambda: extend_leases([told], now=later(2)), _nothing


def is_canceled(stage: Stage) -> tuple[Call, Kept]:
    def kept(_: Any) -> bool:
        return get(stage.run_id).status in FINAL

    return lambda: cancel_run(stage.scope, run_id=stage.run_id, now=later(2)), kept


def is_canceled_in_bulk(stage: Stage) -> tuple[Call, Kept]:
    after = clock.now() + timedelta(days=1)
    action = create_bulk_action(
        stage.scope, kind=BulkKind.CANCEL, run_ids=[stage.run_id], now=after
    )
    return lambda: advance_bulk_action(action.pk, clock=lambda: later(2)), _nothing


def is_requeued(stage: Stage) -> tuple[Call, Kept]:
    return lambda: requeue_run(stage.scope, run_id=stage.run_id, now=later(2)), _nothing


def is_moved(stage: Stage) -> tuple[Call, Kept]:
    def move() -> Run:
        return reschedule_run(stage.scope, run_id=stage.run_id, delay_until=later(20), now=later(2))

    return move, _nothing


def is_joined(stage: Stage) -> tuple[Call, Kept]:
    return lambda: _debounced(stage, 2), lambda made: Run.objects.filter(pk=made).exists()


def is_forked(stage: Stage) -> tuple[Call, Kept]:
    def fork() -> UUID:
        return fork_run(stage.scope, run_id=stage.run_id, start="1", now=later(2)).run_id

    return fork, lambda made: get(made).replay_of_id == stage.run_id


def is_replayed(stage: Stage) -> tuple[Call, Kept]:
    def replay() -> UUID:
        return replay_run(stage.scope, run_id=stage.run_id, overrides={}, now=later(2)).run_id

    return replay, lambda made: get(made).replay_of_id == stage.run_id


def gets_a_child(stage: Stage) -> tuple[Call, Kept]:
    def child() -> UUID:
        return ask(
            stage.scope, "parent", parent_run_id=stage.run_id, resume_parent=True, now=later(2)
        ).run_id

    return child, lambda made: get(made).parent_id == stage.run_id


def is_tagged(stage: Stage) -> tuple[Call, Kept]:
    def tag() -> Run:
        return add_tags(stage.scope, run_id=stage.run_id, tags=["a"], now=later(2))

    return tag, lambda _: get(stage.run_id).tags == ["a"]


def is_described(stage: Stage) -> tuple[Call, Kept]:
    def describe() -> Any:
        return change_metadata(stage.scope, run_id=stage.run_id, metadata={"a": 1}, now=later(2))

    return describe, lambda _: get(stage.run_id).metadata == {"a": 1}


def is_sent_something(stage: Stage) -> tuple[Call, Kept]:
    def send() -> Any:
        return send_input(
            stage.scope, run_id=stage.run_id, item=Item(key="go", data="1"), now=later(2)
        )

    return send, lambda _: Input.objects.filter(run_id=stage.run_id, key="go").exists()


def is_called_back(stage: Stage) -> tuple[Call, Kept]:
    def call() -> bool:
        return complete_called_back(waitpoint_id=stage.points[0], output="2", now=later(2))

    return call, _completed(stage, "2")


def has_its_token(stage: Stage) -> tuple[Call, Kept]:
    def complete() -> bool:
        return complete_token(stage.scope, waitpoint_id=stage.points[0], output="1", now=later(2))

    return complete, _completed(stage, "1")


def _completed(stage: Stage, output: str) -> Kept:
    """Whoever was told that it completed the token is the one whose output is kept."""

    def kept(is_mine: Any) -> bool:
        return not is_mine or Waitpoint.objects.get(pk=stage.points[0]).output == output

    return kept


def waits_for_more(stage: Stage) -> tuple[Call, Kept]:
    token = _token(stage)

    def block() -> None:
        block_run(stage.scope, run_id=stage.run_id, waitpoint_id=token, now=later(2))

    return block, _nothing


def waits_until(stage: Stage) -> tuple[Call, Kept]:
    def block() -> Any:
        return block_until(stage.scope, run_id=stage.run_id, due_at=later(3), now=later(2))

    return block, _nothing


def gets_a_wait(stage: Stage) -> tuple[Call, Kept]:
    def make() -> Any:
        request = WaitRequest(key="go", due_at=later(50))
        return create_input_wait(stage.scope, run_id=stage.run_id, request=request, now=later(2))

    return make, lambda made: Waitpoint.objects.filter(pk=made.waitpoint_id).exists()


def _duty(duty: Callable[..., int]) -> Callable[[Stage], tuple[Call, Kept]]:
    def prepare(_: Stage) -> tuple[Call, Kept]:
        return lambda: duty(later(LATE)), _nothing

    prepare.__name__ = duty.__name__
    return prepare


CLAIMS, STARTS, GIVES_BACK = Move(claims), Move(starts), Move(gives_back)
COMPLETES, CRASHES, TRIES_AGAIN = Move(completes), Move(crashes), Move(tries_again)
RECORDS, FALLS_ASLEEP, LEAVES, RESUMES = (
    Move(records), Move(falls_asleep), Move(leaves), Move(resumes),
)  # fmt: skip
BEATS = Move(beats, (extend_leases,))
CANCEL = Move(is_canceled, (cancel_run,))
BULK = Move(is_canceled_in_bulk, (create_bulk_action, advance_bulk_action))
REQUEUE, MOVE = Move(is_requeued, (requeue_run,)), Move(is_moved, (reschedule_run,))
JOIN = Move(is_joined, (trigger_runs,))
FORK, REPLAY, CHILD = Move(is_forked, (fork_run,)), Move(is_replayed), Move(gets_a_child)
TAG, DESCRIBE = Move(is_tagged, (add_tags,)), Move(is_described, (change_metadata,))
SEND = Move(is_sent_something, (send_input,))
TOKEN = Move(has_its_token, (complete_token,))
CALL_BACK = Move(is_called_back, (complete_called_back,))
MORE, UNTIL = Move(waits_for_more, (block_run,)), Move(waits_until, (block_until,))
INPUT_WAIT = Move(gets_a_wait, (create_input_wait,))
RESCUE, EXPIRE, QUEUE_DUE, OVERDUE, DUE = (
    Move(_duty(duty), (duty,))
    for duty in (
        duties.rescue, duties.expire, duties.queue_due, duties.end_overdue_cancellations,
        complete_due,
    )
)  # fmt: skip

MOVES: dict[Callable[[Shop], Stage], Sequence[Move]] = {
    queued: (CLAIMS, EXPIRE, CANCEL, REPLAY, SEND, TAG),
    delayed: (QUEUE_DUE, MOVE, JOIN, REQUEUE, CANCEL),
    dequeued: (STARTS, COMPLETES, GIVES_BACK, RESCUE, REQUEUE, CANCEL, BEATS, SEND),
    executing: (
        COMPLETES, CRASHES, TRIES_AGAIN, RECORDS, FALLS_ASLEEP, MORE, UNTIL, RESCUE, REQUEUE,
        CANCEL, BULK, FORK, CHILD, DESCRIBE, INPUT_WAIT,
    ),
    waiting: (TOKEN, CALL_BACK, SEND, DUE, MORE, LEAVES, RESCUE, CANCEL, REQUEUE),
    let_go: (TOKEN, SEND, DUE, MORE, CANCEL, FORK),
    woken: (RESUMES, COMPLETES, LEAVES, RESCUE, REQUEUE, CANCEL, SEND),
    stopping: (COMPLETES, CRASHES, RECORDS, FALLS_ASLEEP, RESCUE, OVERDUE, CANCEL, CHILD),
}  # fmt: skip


# -- The end of a run --------------------------------------------------------------------------


def carry_on(stage: Stage) -> None:
    """From here all goes well: the run, and whatever came of it, must end."""
    worker, seconds = stage.shop.worker(), 100.0
    held = {stage.run_id: stage.order} if stage.work else {}
    for _ in range(_ROUNDS):
        if not Run.objects.exclude(status__in=FINAL).exists():
            return
        for one in (worker, stage.worker):
            one.inbox = []
            one._listen(10, now=later(seconds))
            for message in one.inbox:
                _carry_out(one, message, held, seconds)
        for duty in duties.FAST:
            duty(later(seconds))
        seconds += 70
    raise AssertionError(f"these never end: {list(Run.objects.values_list('status', flat=True))}")


def _carry_out(worker: Worker, message: Any, held: dict[UUID, Execute], seconds: float) -> None:
    run_id = get(message.run).pk
    if isinstance(message, Execute):
        held[run_id] = message
    worker.say(completed(held[run_id], generation=message.generation), now=later(seconds))


def tried(call: Call) -> Call:
    """The call, which may be refused in words."""

    def attempt() -> Any:
        with suppress(DomainError):
            return call()
        return None

    return attempt
