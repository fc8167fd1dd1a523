"""What is sent to runs while they are open, and the waitpoints of runs that wait for it.

Items are kept in the order in which they came, from the run's creation to its end: it does not
matter whether the run waits already. Whoever adds an item, and whoever begins to wait for one,
holds the lock of the run's inputs, which comes before all other locks: none of them misses the
other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from apps.core import sql
from apps.core.errors import NotFound
from apps.core.facts import publish
from apps.core.ids import new_id
from apps.core.locks import transaction_lock
from apps.core.transactions import retried
from apps.environments.scope import Scope
from apps.orgs.permissions import Permission, require
from apps.runs import policy
from apps.runs.errors import InputTooLate, no_input
from apps.runs.facts import RunsNoted
from apps.runs.limits import limits
from apps.runs.models import Input, Lease, Run, RunEvent, Waitpoint
from apps.runs.operations.keys import Hold, hold_keys
from apps.runs.operations.reports import Report
from apps.runs.operations.waiting import wake_waiters
from apps.runs.states import KeyKind, WaitpointKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """What is sent under the name of an input.

    The same `part`, which the sender chooses, is kept once.
    """

    key: str
    data: str | None = None
    data_type: str = "application/json"
    part: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SentInput:
    """An item's place among those of its key, from 0; cached when its part was sent before."""

    seq: int
    is_cached: bool


@retried
def send_input(scope: Scope, *, run_id: UUID, item: Item, now: datetime) -> SentInput:
    """Send an item to an open run, and wake it if it waits for this one."""
    require(scope.actor, Permission.RUNS_WRITE)
    policy.check_input(item.key, item.data, limits())
    policy.check_key(item.part, limits(), field="part")
    _check_open(scope, run_id)
    _lock_inputs([run_id])
    sent = Input.objects.filter(run_id=run_id, key=item.key)
    if item.part is not None and (known := sent.filter(part=item.part).first()):
        return SentInput(seq=known.seq, is_cached=True)
    latest = sent.order_by("-seq").values_list("seq", flat=True).first()
    kept = _keep(run_id, item, seq=0 if latest is None else latest + 1, now=now)
    awaited = _lock_awaited(kept)
    _note(kept, now=now)
    _complete(awaited, kept, now=now)
    return SentInput(seq=kept.seq, is_cached=False)


def _check_open(scope: Scope, run_id: UUID) -> None:
    run = Run.objects.within(scope.environment_id).only("status").filter(pk=run_id).first()
    if run is None:
        raise NotFound
    if run.is_final:
        raise InputTooLate


def _lock_inputs(run_ids: Iterable[UUID]) -> None:
    for run_id in sorted(set(run_ids)):
        transaction_lock(f"inputs of {run_id}")


def _keep(run_id: UUID, item: Item, *, seq: int, now: datetime) -> Input:
    latest = (
        Input.objects.filter(run_id=run_id)
        .order_by("-number")
        .values_list("number", "total_bytes")
        .first()
    )
    count, total = latest or (0, 0)
    total += len((item.data or "").encode())
    policy.check_inputs(count + 1, total, limits())
    kept = Input(
        run_id=run_id, number=count + 1, key=item.key, seq=seq, part=item.part, data=item.data,
        data_type=item.data_type, total_bytes=total, sent_at=now,
    )  # fmt: skip
    kept.save(force_insert=True)
    return kept


def _lock_awaited(item: Input) -> list[UUID]:
    waited = Waitpoint.objects.filter(
        kind=WaitpointKind.INPUT, run_id=item.run_id, key=item.key, seq=item.seq, completed_at=None
    )
    return list(waited.select_for_update().order_by("pk").values_list("pk", flat=True))


def _note(item: Input, *, now: datetime) -> None:
    run = (
        Run.objects.select_for_update(no_key=True)
        .only("id", "environment_id", "status", "attempt_count")
        .get(pk=item.run_id)
    )
    if run.is_final:
        raise InputTooLate
    RunEvent.objects.create(
        run_id=run.pk, environment_id=run.environment_id, kind="input", status=run.status,
        attempt=run.attempt_count, at=now, detail={"input": item.key, "seq": item.seq},
    )  # fmt: skip
    publish(RunsNoted(environment_id=run.environment_id))


def _complete(waitpoint_ids: list[UUID], item: Input, *, now: datetime) -> None:
    if waitpoint_ids:
        Waitpoint.objects.filter(pk__in=waitpoint_ids).update(
            completed_at=now, output=item.data, output_type=item.data_type
        )
        wake_waiters(waitpoint_ids, now=now)


# -- Waiting -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class InputWait:
    """An item that a run waits for, until a moment, under an id of its own choice."""

    id: UUID
    environment_id: UUID
    run_id: UUID
    key: str
    seq: int
    due_at: datetime | None = None


def make_inputs(waits: Sequence[InputWait], *, now: datetime, **named: Any) -> None:
    """Make the waitpoints of these items, completed at once where the item is there.

    To be done before anything else is locked. A name that cannot be is nothing to wait for.
    """
    possible = [wait for wait in waits if policy.is_item(wait.key, wait.seq, limits())]
    if not possible:
        return
    _lock_inputs(wait.run_id for wait in possible)
    sql.execute(
        sql.load("runs", "make_inputs"),
        {
            "ids": [wait.id for wait in possible],
            "environments": [wait.environment_id for wait in possible],
            "runs": [wait.run_id for wait in possible],
            "keys": [wait.key for wait in possible],
            "seqs": [wait.seq for wait in possible],
            "dues": [wait.due_at for wait in possible],
            "late": json.dumps(no_input()),
            "now": now,
            "tags": [],
            "idempotency_key": None,
            "idempotency_expires_at": None,
            **named,
        },
    )


def expect_inputs(reports: Sequence[Report], *, now: datetime) -> None:
    """Make what suspended runs wait to be sent, before anything is locked; of no use to a stale
    report."""
    asked = [report for report in reports if report.inputs]
    if not asked:
        return
    leases = Lease.objects.filter(pk__in=[report.run_id for report in asked])
    places = {
        (run_id, session_id): environment_id
        for run_id, session_id, environment_id in leases.values_list(
            "run_id", "session_id", "environment_id"
        )
    }
    make_inputs(
        [
            InputWait(
                id=identifier,
                environment_id=environment_id,
                run_id=report.run_id,
                key=item.key,
                seq=item.seq,
                due_at=None if item.due_ms is None else policy.moment(item.due_ms),
            )
            for report in asked
            if (environment_id := places.get((report.run_id, report.session_id)))
            for identifier, item in report.inputs
        ],
        now=now,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitRequest:
    """Which item of an input a run's own code wants to wait for from outside, and until when."""

    key: str
    seq: int = 0
    due_at: datetime | None = None
    tags: Sequence[str] = ()
    idempotency_key: str | None = None
    idempotency_ttl: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedWait:
    """What a run may wait for; cached when its idempotency key belongs to an earlier one."""

    waitpoint_id: UUID
    is_cached: bool


@retried
def create_input_wait(
    scope: Scope, *, run_id: UUID, request: WaitRequest, now: datetime
) -> CreatedWait:
    """Make a waitpoint for an item of a run's input; the same idempotency key finds it again."""
    require(scope.actor, Permission.RUNS_WRITE)
    bounds = limits()
    policy.check_input(request.key, None, bounds)
    policy.check_tags(request.tags, bounds, subject="a wait")
    policy.check_key(request.idempotency_key, bounds, field="idempotencyKey")
    if not Run.objects.within(scope.environment_id).filter(pk=run_id).exists():
        raise NotFound
    wait = InputWait(
        id=new_id(), environment_id=scope.environment_id, run_id=run_id, key=request.key,
        seq=request.seq, due_at=request.due_at,
    )  # fmt: skip
    named: dict[str, Any] = {"tags": list(dict.fromkeys(request.tags))}
    if key := request.idempotency_key:
        life = request.idempotency_ttl or timedelta(seconds=bounds.token_key_seconds)
        hold = Hold(task="", key=key, run_id=wait.id, life=life)
        holder = hold_keys(scope.environment_id, KeyKind.WAITPOINT, [hold], now=now)[wait.id]
        if holder != wait.id:
            return CreatedWait(waitpoint_id=holder, is_cached=True)
        named |= {"idempotency_key": key, "idempotency_expires_at": now + life}
    make_inputs([wait], now=now, **named)
    return CreatedWait(waitpoint_id=wait.id, is_cached=False)
