"""Batches: announced with their size, filled item by item, sealed when all are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from apps.core.errors import Conflict, DomainError, Invalid, NotFound
from apps.core.ids import new_id
from apps.core.locks import transaction_lock
from apps.core.transactions import retried
from apps.environments.scope import Scope
from apps.runs import policy
from apps.runs.errors import internal
from apps.runs.limits import limits
from apps.runs.models import Batch, BatchItem, Run, Waitpoint
from apps.runs.operations.family import lock_parents
from apps.runs.operations.finish import complete_batches
from apps.runs.operations.keys import Hold, hold_keys, use_token
from apps.runs.operations.trigger import Triggered, TriggerRequest
from apps.runs.operations.trigger_alike import Alike, trigger_alike
from apps.runs.operations.trigger_each import trigger_each
from apps.runs.operations.waiting import wake_waiters
from apps.runs.states import BatchStatus, KeyKind, WaitpointKind

_BITE = 500
_FEWEST_ALIKE = 4  # items per request, from which it pays to take them together


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedBatch:
    """A batch to fill; `waitpoint_id` when its parent waits for it."""

    batch_id: UUID
    is_cached: bool
    waitpoint_id: UUID | None = None
    is_sealed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchItemRequest:
    """One item, at its place from 0.

    Items may share one request; then each has its payload here instead of there.
    """

    index: int
    request: TriggerRequest
    payload: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchProgress:
    """How far a batch is filled after a call."""

    accepted: int
    deduplicated: int
    sealed: bool
    enqueued: int
    expected: int


@retried
def create_batch(  # noqa: PLR0913 -- an announcement has these parts
    scope: Scope,
    *,
    run_count: int,
    parent_run_id: UUID | None = None,
    resume_parent: bool = False,
    idempotency_key: str | None = None,
    token_digest: bytes | None = None,
    now: datetime,
) -> CreatedBatch:
    """Announce a batch; the same idempotency key, while it lives, answers with the same batch.

    `token_digest` is a one-time public token that the batch consumes.
    """
    bounds = limits()
    if not 1 <= run_count <= bounds.batch_items:
        raise Invalid(
            f"a batch has 1 to {bounds.batch_items} items, this one would have {run_count}",
            detail={"runCount": ["out of bounds"]},
        )
    policy.check_key(idempotency_key, bounds, field="idempotencyKey")
    batch_id = new_id()
    holder = _hold(scope, idempotency_key, batch_id, now=now)
    if holder != batch_id:
        is_sealed = Batch.objects.filter(pk=holder, sealed_at__isnull=False).exists()
        return CreatedBatch(
            batch_id=holder,
            is_cached=True,
            waitpoint_id=_waitpoint_of(holder, resume_parent),
            is_sealed=is_sealed,
        )
    if token_digest is not None:
        use_token(scope.environment_id, token_digest, batch_id, now=now)
    lock_parents(scope, [parent_run_id] if parent_run_id else [])
    batch = Batch.objects.create(
        id=batch_id,
        environment_id=scope.environment_id,
        run_count=run_count,
        parent_run_id=parent_run_id,
        resumes_parent=resume_parent and parent_run_id is not None,
        idempotency_key=idempotency_key,
        created_at=now,
        updated_at=now,
    )
    if not batch.resumes_parent:
        return CreatedBatch(batch_id=batch_id, is_cached=False)
    waitpoint = Waitpoint.objects.create(
        environment_id=scope.environment_id,
        kind=WaitpointKind.BATCH,
        batch_id=batch_id,
        created_at=now,
    )
    return CreatedBatch(batch_id=batch_id, is_cached=False, waitpoint_id=waitpoint.pk)


def _hold(scope: Scope, key: str | None, batch_id: UUID, *, now: datetime) -> UUID:
    if key is None:
        return batch_id
    life = timedelta(seconds=limits().idempotency_seconds)
    hold = Hold(task="", key=key, run_id=batch_id, life=life)
    return hold_keys(scope.environment_id, KeyKind.BATCH, [hold], now=now)[batch_id]


def _waitpoint_of(batch_id: UUID, wanted: bool) -> UUID | None:
    found = Waitpoint.objects.filter(batch_id=batch_id, kind=WaitpointKind.BATCH)
    return found.values_list("id", flat=True).first() if wanted else None


@retried
def add_batch_items(
    scope: Scope, *, batch_id: UUID, items: Sequence[BatchItemRequest], now: datetime
) -> BatchProgress:
    """Trigger those items that are new to the batch; it is sealed when all indexes are known.

    An item that cannot be triggered is kept with its error, and the others go on. Of two items with
    one index the first counts.
    """
    # One caller at a time. The batch's own lock comes later, after those of the runs.
    transaction_lock(f"batch:{batch_id}")
    batch = Batch.objects.filter(pk=batch_id, environment_id=scope.environment_id).first()
    if batch is None:
        raise NotFound
    if beyond := [item.index for item in items if not 0 <= item.index < batch.run_count]:
        raise Invalid(f"item {beyond[0]} is outside of this batch of {batch.run_count}")
    count, near = _known(batch, [item.index for item in items])
    fresh: dict[int, BatchItemRequest] = {}
    for item in items:
        if item.index not in near:
            fresh.setdefault(item.index, item)
    if fresh and batch.sealed_at:
        raise Conflict("this batch is sealed")
    if fresh and batch.completed_at:
        raise Conflict("this batch was given up, because it was not filled in time")
    rows = _trigger(scope, batch, fresh, now=now) if fresh else []
    batch = Batch.objects.select_for_update(no_key=True).get(pk=batch_id)
    BatchItem.objects.bulk_create(rows)
    _seal(batch, count + len(fresh), now=now)
    return BatchProgress(
        accepted=len(fresh),
        deduplicated=len(items) - len(fresh),
        sealed=batch.sealed_at is not None,
        enqueued=count + len(fresh),
        expected=batch.run_count,
    )


def _known(batch: Batch, indexes: Sequence[int]) -> tuple[int, set[int]]:
    """How many items the batch has, and which of them are about where these are."""
    if not indexes:
        return batch.items.count(), set()
    near = batch.items.filter(index__range=(min(indexes), max(indexes)))
    return batch.items.count(), set(near.values_list("index", flat=True))


def _trigger(
    scope: Scope, batch: Batch, fresh: dict[int, BatchItemRequest], *, now: datetime
) -> list[BatchItem]:
    """Trigger these items; returns those of their rows that are not stored yet."""
    groups = _groups(batch, [fresh[index] for index in sorted(fresh)])
    if len(fresh) >= _FEWEST_ALIKE * len(groups):
        refused = trigger_alike(scope, groups=groups, now=now)
        if refused is not None:
            return [_item(batch, i, fresh[i].request, no, set()) for i, no in refused.items()]
    requests = {
        index: replace(
            _of_batch(batch, fresh[index].request),
            payload=_payload(fresh[index]),
            batch_index=index,
        )
        for index in sorted(fresh)
    }
    told = trigger_each(scope, requests=list(requests.values()), now=now)
    outcomes = dict(zip(requests, told, strict=True))
    cached = [o.run_id for o in outcomes.values() if isinstance(o, Triggered) and o.is_cached]
    # under their locks, so that none ends unseen between this look and the end of the transaction
    locked = Run.objects.select_for_update(no_key=True).defer("payload", "output").order_by("pk")
    ended = {run.pk for run in locked.filter(pk__in=cached) if run.is_final}
    return [
        _item(batch, index, requests[index], outcome, ended) for index, outcome in outcomes.items()
    ]


def _groups(batch: Batch, items: Sequence[BatchItemRequest]) -> list[Alike]:
    """The items by the request that they share."""
    groups: dict[int, Alike] = {}
    for item in items:
        group = groups.get(id(item.request))
        if group is None:
            request = _of_batch(batch, item.request)
            groups[id(item.request)] = group = Alike(request=request, items=[])
        group.items.append((item.index, _payload(item)))
    return list(groups.values())


def _payload(item: BatchItemRequest) -> str | None:
    return item.request.payload if item.payload is None else item.payload


def _of_batch(batch: Batch, request: TriggerRequest) -> TriggerRequest:
    return replace(
        request,
        batch_id=batch.pk,
        parent_run_id=batch.parent_run_id,
        resume_parent=batch.resumes_parent,
    )


def _item(
    batch: Batch,
    index: int,
    request: TriggerRequest,
    outcome: Triggered | DomainError,
    ended: set[UUID],
) -> BatchItem:
    item = BatchItem(batch_id=batch.pk, index=index, task=request.task)
    if isinstance(outcome, Triggered):
        item.run_id, item.is_cached = outcome.run_id, outcome.is_cached
        item.is_finished = outcome.run_id in ended
    else:
        told = {"code": outcome.code, "message": outcome.message, "detail": outcome.detail}
        item.error, item.is_finished = policy.storable(told), True
    return item


def _seal(batch: Batch, known: int, *, now: datetime) -> None:
    if batch.sealed_at is None and known == batch.run_count:
        batch.sealed_at, batch.status = now, BatchStatus.PROCESSING
    batch.updated_at = now
    batch.save(update_fields=["sealed_at", "status", "updated_at"])
    wake_waiters(complete_batches([batch], now=now), now=now)


@retried
def abandon_batches(now: datetime) -> int:
    """Give up batches that nobody has filled in time; who waits for one goes on with an error."""
    patience = timedelta(seconds=limits().batch_seal_seconds)
    late = Batch.objects.filter(sealed_at=None, completed_at=None, updated_at__lte=now - patience)
    batches = list(
        late.select_for_update(no_key=True, skip_locked=True).order_by("updated_at")[:_BITE]
    )
    for batch in batches:
        batch.status, batch.completed_at, batch.updated_at = BatchStatus.ABORTED, now, now
        batch.save(update_fields=["status", "completed_at", "updated_at"])
    waitpoints = Waitpoint.objects.filter(
        kind=WaitpointKind.BATCH, batch_id__in=[batch.pk for batch in batches], completed_at=None
    )
    identifiers = list(waitpoints.values_list("id", flat=True))
    text = f"the batch was not filled within {limits().batch_seal_seconds} seconds"
    waitpoints.update(completed_at=now, error=internal("UNSPECIFIED_ERROR", text))
    wake_waiters(identifiers, now=now)
    return len(batches)
