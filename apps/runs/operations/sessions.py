"""Worker sessions: who is connected, what they hold, and whether they still may."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction

from apps.core import sql
from apps.core.errors import Invalid
from apps.core.ids import parse_public_id, public_id
from apps.deployments.models import Promotion, Version, WorkerSession
from apps.environments.scope import Scope
from apps.runs.limits import limits
from apps.runs.operations.claim import missed_resumes
from apps.runs.operations.settle import Answer
from holdfast.machines import MACHINES
from holdfast.protocol import Cancel, Held, Hello, Message, Stale


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A worker session that may work, and what its worker must know about what it holds."""

    session_id: UUID
    environment_id: UUID
    version_id: UUID
    machine: str
    capacity: int
    lost: tuple[str, ...] = ()
    kept: tuple[Held, ...] = ()
    missed: tuple[Message, ...] = ()


@transaction.atomic
def open_session(scope: Scope, *, hello: Hello, coordinator: UUID, now: datetime) -> Opened:
    """Register a worker, or find it again after its connection broke; raises Invalid."""
    version = _version(scope, hello.version)
    if hello.machine and hello.machine not in MACHINES:
        raise Invalid(f"unknown machine {hello.machine!r}: one of {', '.join(MACHINES)}, or none")
    try:
        session_id = UUID(hello.session)
        instance_id = UUID(hello.instance) if hello.instance else None
    except ValueError:
        raise Invalid("session and instance must be UUIDs") from None
    known = WorkerSession.objects.filter(pk=session_id).values_list("environment_id", flat=True)
    if any(environment_id != scope.environment_id for environment_id in known):
        raise Invalid("this session belongs to another environment: use a fresh UUID per process")
    WorkerSession.objects.update_or_create(
        pk=session_id,
        defaults={
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
        },
        create_defaults={
            "environment_id": scope.environment_id,
            "version_id": version,
            "pool": hello.pool,
            "instance_id": instance_id,
            "machine": hello.machine,
            "capacity": hello.capacity,
            "sdk_version": hello.sdk,
            "labels": hello.labels,
            "coordinator": coordinator,
            "connected_at": now,
            "seen_at": now,
        },
    )
    generations = _generations(hello.holding)
    beats = extend_leases([Beats(session_id=session_id, generations=generations)], now=now)
    resumes = missed_resumes(session_id, generations)
    return Opened(
        session_id=session_id,
        environment_id=scope.environment_id,
        version_id=version,
        machine=hello.machine,
        capacity=hello.capacity,
        lost=tuple(a.message.run for a in beats if isinstance(a.message, Stale)),
        kept=tuple(held for held in hello.holding if _is_kept(held, beats)),
        missed=tuple(
            answer.message for answer in [*beats, *resumes] if not isinstance(answer.message, Stale)
        ),
    )


def _is_kept(held: Held, beats: Sequence[Answer]) -> bool:
    return not any(isinstance(a.message, Stale) and a.message.run == held.run for a in beats)


def _version(scope: Scope, number: str) -> UUID:
    found = Version.objects.filter(environment_id=scope.environment_id)
    if not number:
        current = Promotion.objects.filter(environment_id=scope.environment_id)
        identifier = current.values_list("version_id", flat=True).first()
    else:
        identifier = found.filter(number=number).values_list("id", flat=True).first()
    if identifier is None:
        raise Invalid(
            f"this environment has no version {number!r}: register or deploy it first",
            detail={"version": ["unknown"]},
        )
    return identifier


def _generations(holding: Sequence[Held]) -> dict[UUID, int]:
    return {parse_public_id("run", held.run): held.generation for held in holding}


@dataclass(frozen=True, slots=True, kw_only=True)
class Beats:
    """What one session holds, by run."""

    session_id: UUID
    generations: Mapping[UUID, int] = field(default_factory=dict)


@transaction.atomic
def extend_leases(beats: Sequence[Beats], *, now: datetime) -> list[Answer]:
    """Prolong what is held; answers Stale for what is not any more, Cancel for what must stop."""
    told = [
        (beat.session_id, run_id, generation)
        for beat in beats
        for run_id, generation in beat.generations.items()
    ]
    if not told:
        return []
    bounds = limits()
    sessions, runs, generations = zip(*told, strict=True)
    rows = sql.rows(
        sql.load("runs", "extend_leases"),
        {
            "sessions": list(sessions),
            "runs": list(runs),
            "generations": list(generations),
            "now": now,
            "lease": timedelta(seconds=bounds.lease_seconds),
        },
    )
    mine = {(row["session_id"], row["run_id"]): row for row in rows}
    answers = []
    for session_id, run_id, generation in told:
        message = _verdict(mine.get((session_id, run_id)), run_id, generation)
        if message:
            answers.append(Answer(session_id=session_id, message=message))
    return answers


def _verdict(lease: Mapping[str, Any] | None, run_id: UUID, generation: int) -> Message | None:
    name = public_id("run", run_id)
    if lease is None:
        return Stale(run=name, generation=generation)
    if lease["cancel_requested_at"]:
        return Cancel(
            run=name,
            generation=lease["generation"],
            grace_seconds=limits().cancel_grace_seconds,
            reason="canceled",
        )
    return None


def touch_sessions(session_ids: Sequence[UUID], *, now: datetime) -> None:
    """Note that these sessions are alive: one statement per process per interval."""
    WorkerSession.objects.filter(pk__in=session_ids).update(seen_at=now, disconnected_at=None)


def close_session(session_id: UUID, *, coordinator: UUID, now: datetime) -> None:
    """Note that a connection ended, unless the worker is back on another; its leases run on."""
    WorkerSession.objects.filter(pk=session_id, coordinator=coordinator).update(disconnected_at=now)
