"""Hand ready runs to the free places of connected workers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

from apps.core import sql, traces
from apps.core.ids import public_id
from apps.environments.models import Environment
from apps.runs.limits import limits
from apps.runs.operations.journal import FORK, executed_before, journals
from apps.runs.operations.reports import Answer
from apps.runs.operations.waiting import completed_waits
from holdfast.machines import DEFAULT_MACHINE, MACHINES
from holdfast.protocol import Execute, Resume


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A worker session with free places; `machine` is empty when it takes any preset."""

    session_id: UUID
    environment_id: UUID
    version_id: UUID
    machine: str
    free: int
    holds_suspended: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """What sessions are given; `busy` are environments that another process had at that moment.

    From `free_at` on a rate that has been used up just now allows another start.
    """

    answers: list[Answer]
    busy: frozenset[UUID] = frozenset()
    free_at: datetime | None = None


def claim(offers: Sequence[Offer], *, now: datetime) -> Claimed:
    """Claim what may start, resumed runs first; the caller is in a transaction.

    Each answer is an Execute or a Resume for one session, under a lease that this call wrote. It
    waits for nobody: of an environment that is busy nothing is claimed.
    """
    resumed = _resume([o for o in offers if o.free and o.holds_suspended], now=now)
    executed = _execute(without(offers, resumed), now=now)
    return replace(executed, answers=resumed + executed.answers)


def is_anything_ready(offers: Sequence[Offer]) -> bool:
    """Whether there is any run that these offers might get: a tenth of what it costs to claim."""
    environments = list({offer.environment_id for offer in offers})
    asked = {"environments": environments}
    return bool(environments) and bool(sql.rows(sql.load("runs", "anything_ready"), asked))


def claim_patiently(offers: Sequence[Offer], *, now: datetime) -> Claimed:
    """Claim for environments that were busy, waiting for them.

    The caller is in a transaction that holds no other lock, and bounds the wait.
    """
    environments = list({offer.environment_id for offer in offers})
    sql.rows(sql.load("runs", "lock_environments"), {"environments": environments})
    return claim(offers, now=now)


def without(offers: Sequence[Offer], answers: Sequence[Answer]) -> list[Offer]:
    """What is left of these offers after the answers."""
    taken = Counter(answer.session_id for answer in answers)
    left = (replace(offer, free=offer.free - taken[offer.session_id]) for offer in offers)
    return [offer for offer in left if offer.free > 0]


def _resume(offers: Sequence[Offer], *, now: datetime) -> list[Answer]:
    if not offers:
        return []
    rows = sql.rows(
        sql.load("runs", "resume"),
        {
            "sessions": [offer.session_id for offer in offers],
            "free": [offer.free for offer in offers],
            "now": now,
            "lease": timedelta(seconds=limits().lease_seconds),
        },
    )
    return resumes([(row["session_id"], row["run_id"], row["generation"]) for row in rows])


def resumes(leases: Sequence[tuple[UUID, UUID, int]]) -> list[Answer]:
    """Tell sessions that these runs of theirs, under these generations, have their slots again."""
    if not leases:
        return []
    results = completed_waits(run_id for _, run_id, _ in leases)
    return [
        Answer(
            session_id=session_id,
            message=Resume(
                run=public_id("run", run_id),
                generation=generation,
                previous=generation - 1,
                results=results.get(run_id, []),
            ),
        )
        for session_id, run_id, generation in leases
    ]


def _execute(offers: Sequence[Offer], *, now: datetime) -> Claimed:
    if not offers:
        return Claimed(answers=[])
    bounds = limits()
    rows = sql.rows(
        sql.load("runs", "claim"),
        {
            "sessions": [offer.session_id for offer in offers],
            "environments": [offer.environment_id for offer in offers],
            "versions": [offer.version_id for offer in offers],
            "machines": [offer.machine for offer in offers],
            "free": [offer.free for offer in offers],
            "most": bounds.claim_batch,
            "now": now,
            "delivery": timedelta(seconds=bounds.delivery_seconds),
        },
    )
    minute = int(now.timestamp() // 60)
    begun = _begun([row for row in rows if row["id"] is not None])
    answers = [
        Answer(
            session_id=row["session_id"],
            message=_workload(row, _place(row["environment_id"], minute), begun.get(row["id"], {})),
        )
        for row in rows
        if row["id"] is not None
    ]
    return Claimed(
        answers=answers, busy=frozenset(rows[0]["busy"] or ()), free_at=rows[0]["free_at"]
    )


def _begun(rows: Sequence[dict[str, Any]]) -> dict[UUID, dict[str, Any]]:
    """What a worker needs of runs that were executed before: journals, and what has completed."""
    before = [r["id"] for r in rows if r["attempt_count"] or r["source"] == FORK]
    if not before:
        return {}
    attempts = {r["id"]: r["suspended_attempt_id"] for r in rows if r["suspended_attempt_id"]}
    found, executed = journals(before), executed_before(attempts.values())
    results = completed_waits(attempts) if attempts else {}
    return {
        run_id: {
            "is_resumed": run_id in attempts,
            "attempt_executed_ms": executed.get(attempts.get(run_id, run_id), 0),
            "journal": list(found[run_id].entries) if run_id in found else [],
            "journal_length": found[run_id].length if run_id in found else 0,
            "results": results.get(run_id, []),
        }
        for run_id in before
    }


@lru_cache(maxsize=1_000)
def _place(environment_id: UUID, minute: int) -> dict[str, Any]:
    """What ctx says about environment, project and organization; names are a minute old at most."""
    environment = Environment.objects.select_related("project", "organization").get(
        pk=environment_id
    )
    return {
        "environment": {
            "id": public_id("env", environment.pk),
            "slug": environment.slug,
            "type": environment.type.upper(),
            "branch": environment.branch,
        },
        "project": {
            "id": public_id("project", environment.project.pk),
            "ref": environment.project.ref,
            "slug": environment.project.slug,
            "name": environment.project.name,
        },
        "organization": {
            "id": public_id("org", environment.organization.pk),
            "slug": environment.organization.slug,
            "name": environment.organization.name,
        },
    }


def _workload(row: dict[str, Any], place: dict[str, Any], begun: dict[str, Any]) -> Execute:
    attempt = row["attempt_count"] + (row["suspended_attempt_id"] is None)
    machine = MACHINES.get(row["machine"], MACHINES[DEFAULT_MACHINE])
    return Execute(
        run=public_id("run", row["id"]),
        generation=row["generation"],
        attempt=attempt,
        max_attempts=row["max_attempts"],
        task=row["task"],
        payload=row["payload"],
        payload_type=row["payload_type"],
        max_duration_seconds=row["max_duration_seconds"],
        machine=machine.name,
        executed_ms=row["executed_ms"],
        metadata=json.loads(row["metadata"]),  # raw rows carry jsonb as text
        traceparent=traces.traceparent_of(
            row["id"], root_id=row["root_id"], traceparent=row["traceparent"]
        ),
        **begun,
        context={
            **place,
            "run": {
                "id": public_id("run", row["id"]),
                "tags": row["tags"],
                "isTest": row["is_test"],
                "isReplay": row["replay_of_id"] is not None,
                "createdAt": row["created_at"].isoformat(),
                "startedAt": row["started_at"] and row["started_at"].isoformat(),
                "idempotencyKey": row["idempotency_key"],
                "maxAttempts": row["max_attempts"],
                "maxDuration": row["max_duration_seconds"],
                "priority": row["priority_seconds"],
                "parentId": row["parent_id"] and public_id("run", row["parent_id"]),
                "rootId": row["root_id"] and public_id("run", row["root_id"]),
                "depth": row["depth"],
            },
            "attempt": {"number": attempt},
            "task": {"id": row["task"]},
            "queue": {"name": row["queue"], "concurrencyKey": row["concurrency_key"]},
            "batch": {"id": public_id("batch", row["batch_id"])} if row["batch_id"] else None,
            "version": row["place_version_number"],
            "machine": {
                "name": machine.name,
                "cpu": machine.cpu,
                "memory": machine.memory_gib,
            },
        },
    )
