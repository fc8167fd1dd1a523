"""Worker sessions: who is connected, what they hold, and whether they still may."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from apps.core import sql
from apps.core.errors import Invalid
from apps.core.ids import parse_public_id, public_id
from apps.core.transactions import retried
from apps.deployments.models import Promotion, Version, WorkerSession
from apps.environments.scope import Scope
from apps.runs import policy
from apps.runs.limits import limits
from apps.runs.operations.checkpoints import adopt
from apps.runs.operations.claim import resumes
from apps.runs.operations.reports import Answer
from holdfast.machines import MACHINES
from holdfast.protocol import Cancel, Held, Hello, Message, Stale

_POOL_LENGTH, _SDK_LENGTH, _LABELS = 63, 64, 100
_MOST_GENERATION = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A run that a session holds, by its lease; a suspended one takes no place."""

    run_id: UUID
    generation: int
    is_suspended: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A worker session that may work, and what its worker must know about what it holds."""

    session_id: UUID
    environment_id: UUID
    version_id: UUID
    machine: str
    capacity: int
    lost: tuple[str, ...] = ()
    kept: tuple[Kept, ...] = ()
    missed: tuple[Message, ...] = ()
    can_freeze: bool = False
    adopted: tuple[Held, ...] = ()


@retried
def open_session(scope: Scope, *, hello: Hello, coordinator: UUID, now: datetime) -> Opened:
    """Register a worker, or find it again after its connection broke; raises Invalid."""
    version = _version(scope, hello.version)
    session_id, instance_id = _identity(hello)
    _check(hello)
    known = WorkerSession.objects.filter(pk=session_id).values_list("environment_id", flat=True)
    if any(environment_id != scope.environment_id for environment_id in known):
        raise Invalid("this session belongs to another environment: use a fresh UUID per process")
    fields = {
        "environment_id": scope.environment_id,
        "version_id": version,
        "pool": hello.pool,
        "instance_id": instance_id,
        "machine": hello.machine,
        "capacity": hello.capacity,
        "sdk_version": hello.sdk,
        "labels": hello.labels,
        "coordinator": coordinator,
        "seen_at": now,
        "disconnected_at": None,
    }
    WorkerSession.objects.update_or_create(
        pk=session_id, defaults=fields, create_defaults={**fields, "connected_at": now}
    )
    adopted = adopt(hello.checkpoint, session_id, now=now) if hello.checkpoint else {}
    beats = Beats(session_id=session_id, generations=generations(hello.holding) | adopted)
    extended = extend_leases([beats], now=now)
    messages = [answer.message for answer in extended.answers]
    return Opened(
        session_id=session_id,
        environment_id=scope.environment_id,
        version_id=version,
        machine=hello.machine,
        capacity=hello.capacity,
        lost=tuple(message.run for message in messages if isinstance(message, Stale)),
        kept=tuple(extended.kept.get(session_id, ())),
        missed=tuple(message for message in messages if not isinstance(message, Stale)),
        can_freeze=hello.can_freeze,
        adopted=tuple(
            Held(run=public_id("run", run_id), generation=generation)
            for run_id, generation in adopted.items()
        ),
    )


def _identity(hello: Hello) -> tuple[UUID, UUID | None]:
    try:
        return UUID(hello.session), UUID(hello.instance) if hello.instance else None
    except ValueError:
        raise Invalid("session and instance must be UUIDs") from None


def _check(hello: Hello) -> None:
    if hello.machine and hello.machine not in MACHINES:
        raise Invalid(f"unknown machine {hello.machine!r}: one of {', '.join(MACHINES)}, or none")
    for name, text, most in (("pool", hello.pool, _POOL_LENGTH), ("sdk", hello.sdk, _SDK_LENGTH)):
        if len(text) > most or not policy.is_storable(text):
            raise Invalid(f"{name} has at most {most} characters, without NUL")
    if len(hello.labels) > _LABELS or policy.storable(hello.labels) != hello.labels:
        raise Invalid(f"a worker has at most {_LABELS} labels, without NUL")


def _version(scope: Scope, number: str) -> UUID:
    if not number:
        current = Promotion.objects.filter(environment_id=scope.environment_id)
        identifier = current.values_list("version_id", flat=True).first()
    else:
        found = Version.objects.filter(environment_id=scope.environment_id, number=number)
        identifier = found.values_list("id", flat=True).first()
    if identifier is None:
        raise Invalid(
            f"this environment has no version {number!r}: register or deploy it first",
            detail={"version": ["unknown"]},
        )
    return identifier


def generations(holding: Sequence[Held]) -> dict[UUID, int]:
    """What a worker says it holds, by run; raises NotFound for what cannot be a run."""
    return {
        parse_public_id("run", held.run): held.generation
        for held in holding
        if 0 < held.generation <= _MOST_GENERATION
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Beats:
    """What one session says it holds, by run."""

    session_id: UUID
    generations: Mapping[UUID, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extended:
    """What sessions hold indeed, and what they must be told."""

    kept: dict[UUID, list[Kept]]
    answers: list[Answer]


@retried
def extend_leases(beats: Sequence[Beats], *, now: datetime) -> Extended:
    """Prolong what is held.

    Answers Stale for what is not any more, Cancel for what must stop, and Resume again for what
    was resumed over a connection that broke.
    """
    told = [
        (beat.session_id, run_id, generation)
        for beat in beats
        for run_id, generation in beat.generations.items()
    ]
    if not told:
        return Extended(kept={}, answers=[])
    sessions, runs, numbers = zip(*told, strict=True)
    rows = sql.rows(
        sql.load("runs", "extend_leases"),
        {
            "sessions": list(sessions),
            "runs": list(runs),
            "generations": list(numbers),
            "now": now,
            "lease": timedelta(seconds=limits().lease_seconds),
        },
    )
    mine = {(row["session_id"], row["run_id"]): row for row in rows}
    kept: dict[UUID, list[Kept]] = {}
    for row in rows:
        kept.setdefault(row["session_id"], []).append(
            Kept(
                run_id=row["run_id"],
                generation=row["generation"],
                is_suspended=not row["holds_slot"],
            )
        )
    missed = [
        (session_id, run_id, generation + 1)
        for session_id, run_id, generation in told
        if (lease := mine.get((session_id, run_id))) and lease["generation"] == generation + 1
    ]
    verdicts = [_verdict(session_id, run_id, n, mine) for session_id, run_id, n in told]
    return Extended(kept=kept, answers=[*filter(None, verdicts), *resumes(missed)])


def _verdict(
    session_id: UUID,
    run_id: UUID,
    generation: int,
    leases: Mapping[tuple[UUID, UUID], Mapping[str, Any]],
) -> Answer | None:
    lease, name = leases.get((session_id, run_id)), public_id("run", run_id)
    if lease is None:
        message: Message = Stale(run=name, generation=generation)
    elif lease["cancel_requested_at"]:
        message = Cancel(
            run=name,
            generation=lease["generation"],
            grace_seconds=limits().cancel_grace_seconds,
            reason=lease["status_reason"],
        )
    else:
        return None
    return Answer(session_id=session_id, message=message)


def touch_sessions(session_ids: Sequence[UUID], *, now: datetime) -> None:
    """Note that these sessions are alive: one statement per process per interval."""
    WorkerSession.objects.filter(pk__in=session_ids).update(seen_at=now, disconnected_at=None)


def close_session(session_id: UUID, *, coordinator: UUID, now: datetime) -> None:
    """Note that a connection ended, unless the worker is back on another; its leases run on."""
    WorkerSession.objects.filter(pk=session_id, coordinator=coordinator).update(disconnected_at=now)
