"""A shop floor for engine tests: versions, workers that are only a session, and their messages."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from apps.core.ids import new_id, parse_public_id, public_id
from apps.deployments.models import Promotion, Queue, Task, Version
from apps.environments.models import Environment
from apps.environments.scope import Scope
from apps.runs.models import Run
from apps.runs.operations.claim import Offer
from apps.runs.operations.exchange import exchange
from apps.runs.operations.settle import Report
from apps.runs.operations.trigger import TriggerRequest, trigger_run
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

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
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


def trigger(scope: Scope, task: str = "hello", *, now: datetime = NOW, **options: Any) -> UUID:
    """The id of a fresh run."""
    return trigger_run(scope, request=TriggerRequest(task=task, **options), now=now).run_id


@dataclass(slots=True)
class Worker:
    """A worker session of one version; it says what a test makes it say."""

    version: Version
    free: int = 10
    machine: str = ""
    session_id: UUID = field(default_factory=uuid4)
    holds_suspended: bool = True

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
        answers = exchange([], [self.offer(free)], now=now)
        return [a.message for a in answers if isinstance(a.message, Execute)]

    def resume(self, *, now: datetime = NOW) -> list[Resume]:
        answers = exchange([], [self.offer()], now=now)
        return [a.message for a in answers if isinstance(a.message, Resume)]

    def say(self, *messages: Any, now: datetime = NOW) -> list[Message]:
        reports = [
            Report(session_id=self.session_id, run_id=parse_public_id("run", m.run), message=m)
            for m in messages
        ]
        return [answer.message for answer in exchange(reports, [], now=now)]

    def start(self, work: Execute, *, now: datetime = NOW) -> list[Message]:
        return self.say(started(work), now=now)


def started(work: Execute, **changes: Any) -> Started:
    given = {"run": work.run, "generation": work.generation, "attempt": work.attempt}
    return Started(**given | changes)


def completed(work: Execute, **changes: Any) -> Completed:
    given = {"run": work.run, "generation": work.generation, "attempt": work.attempt}
    return Completed(**given | {"output": '"done"', "executed_ms": 5} | changes)


def failed(work: Execute, **changes: Any) -> Failed:
    given = {"run": work.run, "generation": work.generation, "attempt": work.attempt}
    return Failed(**given | {"outcome": "failed", "error": ERROR} | changes)


def suspended(work: Execute | Resume, *waitpoints: UUID, **changes: Any) -> Suspended:
    names = [public_id("waitpoint", waitpoint) for waitpoint in waitpoints]
    given = {"run": work.run, "generation": work.generation, "waitpoints": names}
    return Suspended(**given | changes)


def rejected(work: Execute, reason: str = "no memory") -> Rejected:
    return Rejected(run=work.run, generation=work.generation, reason=reason)


def get(run: UUID | str) -> Run:
    run_id = parse_public_id("run", run) if isinstance(run, str) else run
    return Run.objects.get(pk=run_id)


def unknown_run() -> UUID:
    return new_id()
