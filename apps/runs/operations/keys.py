"""Keys that must not trigger twice: a customer's, a client's one logical call, one-time tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from apps.core import sql
from apps.core.errors import Invalid
from apps.runs.limits import limits
from apps.runs.models import IdempotencyKey
from apps.runs.policy import key_digest
from apps.runs.states import KeyKind

_REQUEST_KEY_LIFE = timedelta(hours=24)


class Keyed(Protocol):
    """What a request says about its keys."""

    @property
    def task(self) -> str: ...
    @property
    def idempotency_key(self) -> str | None: ...
    @property
    def idempotency_ttl(self) -> timedelta | None: ...
    @property
    def request_key(self) -> str | None: ...
    @property
    def token_digest(self) -> bytes | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The run that answers a request; cached when the customer's key belongs to an earlier one."""

    run_id: UUID
    is_cached: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A run that asks for a key, and how long it wants to keep it."""

    task: str
    key: str
    run_id: UUID
    life: timedelta


def find_owners(
    environment_id: UUID, asked: Sequence[tuple[UUID, Keyed]], *, now: datetime
) -> list[Owner]:
    """Which run answers each request: its own new one, or the one that holds a key of it.

    Raises Invalid for a one-time token that another call has used.
    """
    again = _called_before(environment_id, asked, now=now)
    cached = hold_keys(
        environment_id,
        KeyKind.USER,
        [
            Hold(
                task=request.task,
                key=request.idempotency_key,
                run_id=run_id,
                life=request.idempotency_ttl or _life(),
            )
            for run_id, request in asked
            if request.idempotency_key and run_id not in again
        ],
        now=now,
    )
    owners = {run_id: again.get(run_id) or cached.get(run_id) or run_id for run_id, _ in asked}
    owners |= _note_calls(environment_id, asked, owners, now=now)
    for run_id, request in asked:
        if request.token_digest:
            use_token(environment_id, request.token_digest, owners[run_id], now=now)
    return [
        Owner(run_id=owners[run_id], is_cached=cached.get(run_id, run_id) != run_id)
        for run_id, _ in asked
    ]


def _called_before(
    environment_id: UUID, asked: Sequence[tuple[UUID, Keyed]], *, now: datetime
) -> dict[UUID, UUID]:
    """The runs that answered earlier tries of the same calls.

    Asked only for calls with a customer's key too: they must not take that key for a run that is
    not made then. For the others, taking the call's own key answers it.
    """
    wanted = {
        run_id: (request.task, key_digest(request.request_key))
        for run_id, request in asked
        if request.request_key and request.idempotency_key
    }
    if not wanted:
        return {}
    live = IdempotencyKey.objects.filter(
        environment_id=environment_id,
        kind=KeyKind.REQUEST,
        digest__in=[digest for _, digest in wanted.values()],
        expires_at__gt=now,
    )
    known = {(key.task, bytes(key.digest)): key.run_id for key in live}
    return {run_id: known[pair] for run_id, pair in wanted.items() if pair in known}


def _note_calls(
    environment_id: UUID,
    asked: Sequence[tuple[UUID, Keyed]],
    owners: dict[UUID, UUID],
    *,
    now: datetime,
) -> dict[UUID, UUID]:
    """Have the keys of these calls name the runs that answer them.

    Returns what answered the earlier try of a call instead, where that is known only now.
    """
    holds = {
        run_id: Hold(
            task=request.task, key=request.request_key, run_id=owners[run_id],
            life=_REQUEST_KEY_LIFE,
        )
        for run_id, request in asked
        if request.request_key
    }  # fmt: skip
    holders = hold_keys(environment_id, KeyKind.REQUEST, holds.values(), now=now)
    return {
        run_id: holders[owners[run_id]]
        for run_id, request in asked
        if run_id in holds and not request.idempotency_key
    }


def use_token(environment_id: UUID, digest: bytes, user_id: UUID, *, now: datetime) -> None:
    """Consume a one-time token for a run or batch; Invalid when another has consumed it."""
    hold = Hold(task="", key=digest.hex(), run_id=user_id, life=_life())
    if hold_keys(environment_id, KeyKind.TOKEN, [hold], now=now)[user_id] != user_id:
        raise Invalid("this one-time token has already been used")


def _life() -> timedelta:
    return timedelta(seconds=limits().idempotency_seconds)


def hold_keys(
    environment_id: UUID, kind: KeyKind, holds: Iterable[Hold], *, now: datetime
) -> dict[UUID, UUID]:
    """Who holds each run's key now: the run itself, or the one that had it before."""
    asked = [(hold.task, key_digest(hold.key), hold) for hold in holds]
    first: dict[tuple[str, bytes], Hold] = {}
    for task, digest, hold in asked:
        first.setdefault((task, digest), hold)
    if not first:
        return {}
    rows = sql.rows(
        sql.load("runs", "hold_keys"),
        {
            "environment": environment_id,
            "kind": kind.value,
            "tasks": [task for task, _ in first],
            "digests": [digest for _, digest in first],
            "runs": [hold.run_id for hold in first.values()],
            "expiries": [now + hold.life for hold in first.values()],
            "now": now,
        },
    )
    holders = {(row["task"], bytes(row["digest"])): row["run_id"] for row in rows}
    return {hold.run_id: holders[task, digest] for task, digest, hold in asked}
