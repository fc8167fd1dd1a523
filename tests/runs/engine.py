"""A shop floor for engine tests: versions, workers that are only a session, and their messages."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID, uuid4

from apps.core.ids import new_id, parse_public_id, public_id
from apps.deployments.models import Promotion, Queue, Task, Version
from apps.environments.models import Environment
from apps.environments.scope import Scope
from apps.runs.models import Lease, PendingRun, ReadyRun, Run, RunEvent, Timer, Wait
from apps.runs.operations.claim import Offer
from apps.runs.operations.exchange import exchange
from apps.runs.operations.reports import Report
from apps.runs.operations.trigger import Triggered, TriggerRequest, trigger_run
from apps.runs.queries import invariant_violations
from apps.runs.states import ALLOWED, RunStatus
from holdfast.protocol import (
    Completed,
    Execute,
    Failed,
    Message,
    Rejected,
    Resume,
    Started,
    Suspended,
)

M = TypeVar("M", bound=Message)

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
FIRST = {RunStatus.PENDING_VERSION, RunStatus.DELAYED, RunStatus.QUEUED}
ERROR = {"type": "BUILT_IN_ERROR", "name": "ValueError", "message": "no", "stackTrace": "…"}


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def version(
    environment: Environment,
    *tasks: str,
    number: str = "20261124.1",
    queues: dict[str, int] | None = None,
    promote: bool = True,
    **fields: Any,
) -> Version:
    """A version with these tasks, promoted."""
    made = Version.objects.create(
        environment=environment, number=number, content_hash=number, created_at=NOW
    )
    for slug in tasks or ("hello",):
        Task.objects.create(
            version=made, slug=slug, **{"queue_name": f"task/{slug}", "retry": {}} | fields
        )
    for name, limit in (queues or {}).items():
        Queue.objects.create(
            environment=environment, name=name, concurrency_limit=limit, created_at=NOW
        )
    if promote:
        Promotion.objects.update_or_create(
            environment=environment, defaults={"version": made, "promoted_at": NOW}
        )
    return made


def ask(scope: Scope, task: str = "hello", *, now: datetime = NOW, **options: Any) -> Triggered:
    """Trigger one run."""
    return trigger_run(scope, request=TriggerRequest(task=task, **options), now=now)


def trigger(scope: Scope, task: str = "hello", *, now: datetime = NOW, **options: Any) -> UUID:
    """The id of a fresh run."""
    return ask(scope, task, now=now, **options).run_id


@dataclass(slots=True)
class Worker:
    """A worker session of one version; it says what a test makes it say."""

    version: Version
    free: int = 10
    machine: str = ""
    session_id: UUID = field(default_factory=uuid4)
    holds_suspended: bool = True
    inbox: list[Message] = field(default_factory=list)

    def offer(self, free: int | None = None) -> Offer:
        return Offer(
            session_id=self.session_id,
            environment_id=self.version.environment_id,
            version_id=self.version.pk,
            machine=self.machine,
            free=self.free if free is None else free,
            holds_suspended=self.holds_suspended,
        )

    def claim(self, *, now: datetime = NOW, free: int | None = None) -> list[Execute]:
        """What it is given to start, up to `free`; what it is given to resume is kept."""
        wanted = self.free if free is None else free
        self._listen(wanted - self._count(Execute), now=now)
        return self._take(Execute, wanted)

    def resume(self, *, now: datetime = NOW) -> list[Resume]:
        """What it is given to resume; what it is given to start is kept."""
        self._listen(self.free, now=now)
        return self._take(Resume, self.free)

    def _listen(self, free: int, *, now: datetime) -> None:
        answers = exchange([], [self.offer(free)], now=now) if free > 0 else []
        self.inbox += [answer.message for answer in answers]

    def _count(self, kind: type[Message]) -> int:
        return sum(isinstance(message, kind) for message in self.inbox)

    def _take(self, kind: type[M], most: int) -> list[M]:
        taken = [message for message in self.inbox if isinstance(message, kind)][:most]
        self.inbox = [message for message in self.inbox if message not in taken]
        return taken

    def say(self, *messages: Any, now: datetime = NOW) -> list[Message]:
        reports = [
            Report(session_id=self.session_id, run_id=parse_public_id("run", m.run), message=m)
            for m in messages
        ]
        return [answer.message for answer in exchange(reports, [], now=now)]

    def start(self, work: Execute, *, now: datetime = NOW) -> list[Message]:
        return self.say(started(work), now=now)


def started(work: Execute, **changes: Any) -> Started:
    given: dict[str, Any] = {
        "run": work.run,
        "generation": work.generation,
        "attempt": work.attempt,
    }
    return Started(**given | changes)


def completed(work: Execute, **changes: Any) -> Completed:
    given: dict[str, Any] = {
        "run": work.run,
        "generation": work.generation,
        "attempt": work.attempt,
    }
    return Completed(**given | {"output": '"done"', "executed_ms": 5} | changes)


def failed(work: Execute, **changes: Any) -> Failed:
    given: dict[str, Any] = {
        "run": work.run,
        "generation": work.generation,
        "attempt": work.attempt,
    }
    return Failed(**given | {"outcome": "failed", "error": ERROR} | changes)


def suspended(work: Execute | Resume, *waitpoints: UUID, **changes: Any) -> Suspended:
    names = [public_id("waitpoint", waitpoint) for waitpoint in waitpoints]
    given: dict[str, Any] = {"run": work.run, "generation": work.generation, "waitpoints": names}
    return Suspended(**given | changes)


def rejected(work: Execute, reason: str = "no memory", **changes: Any) -> Rejected:
    return Rejected(run=work.run, generation=work.generation, reason=reason, **changes)


def get(run: UUID | str) -> Run:
    run_id = parse_public_id("run", run) if isinstance(run, str) else run
    return Run.objects.get(pk=run_id)


def unknown_run() -> UUID:
    return new_id()


def kinds(run: UUID | str) -> list[str]:
    """What happened to a run, by the kinds of its events."""
    events = RunEvent.objects.filter(run_id=get(run).pk).order_by("position")
    return list(events.values_list("kind", flat=True))


def execute(scope: Scope, worker: Worker, task: str = "hello") -> Execute:
    """A new run, claimed and started by this worker, which finds nothing else ready."""
    trigger(scope, task)
    (work,) = worker.claim()
    worker.start(work)
    return work


def illegal_moves() -> list[str]:
    """Every move that the events tell of and that ALLOWED does not know."""
    seen: dict[UUID, RunStatus] = {}
    found = []
    for event in RunEvent.objects.order_by("position"):
        before, after = seen.get(event.run_id), RunStatus(event.status)
        is_allowed = after in FIRST if before is None else after in {before, *ALLOWED[before]}
        if not is_allowed:
            found.append(f"{before} -> {after} by {event.kind}")
        seen[event.run_id] = after
    return found


def unsound(*, now: datetime = NOW) -> list[str]:
    """What must not be: the invariants, and runs that nothing would ever move again."""
    asleep = {
        RunStatus.QUEUED: Run.objects.exclude(pk__in=ReadyRun.objects.values("run_id")),
        RunStatus.DELAYED: Run.objects.exclude(pk__in=Timer.objects.values("run_id")),
        RunStatus.PENDING_VERSION: Run.objects.exclude(pk__in=PendingRun.objects.values("run_id")),
        RunStatus.DEQUEUED: Run.objects.exclude(pk__in=Lease.objects.values("run_id")),
        RunStatus.EXECUTING: Run.objects.exclude(pk__in=Lease.objects.values("run_id")),
        RunStatus.WAITING: Run.objects.exclude(pk__in=Wait.objects.values("run_id")),
    }
    stuck = [f"{status} for ever" for status, runs in asleep.items() if runs.filter(status=status)]
    ended = Run.objects.filter(finished_at__isnull=False).values("pk")
    left = [
        f"an ended run has a {model.__name__}"
        for model in (ReadyRun, Timer, PendingRun, Lease, Wait)
        if model.objects.filter(run_id__in=ended)
    ]
    return [*invariant_violations(now=now), *stuck, *left]
