"""What is known about runs; every function takes the scope first."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from operator import or_
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet, Sum
from django.db.models.functions import Coalesce

from apps.core import sql
from apps.core.errors import NotFound
from apps.core.ids import floor
from apps.core.paging import CursorPage, Page, page_of, paged
from apps.environments.scope import Scope
from apps.orgs.permissions import Permission, require
from apps.runs.explanation import Explanation, SlotHolder, explain_run, slot_holders
from apps.runs.models import (
    Attempt,
    Batch,
    BatchItem,
    BulkAction,
    BulkItem,
    JournalEntry,
    Lane,
    Run,
    RunEvent,
    RunQuerySet,
    RunTag,
    Wait,
    Waitpoint,
)
from apps.runs.states import WaitpointKind, WaitpointStatus
from apps.runs.tagged import tagged_ids

MOST_TRIED = 20_000  # programs follow cursors unseen: fewer, longer steps suit them
_MOST_TAGGED = 1_000


def get_run(scope: Scope, run_id: UUID) -> Run:
    """One run; raises NotFound."""
    run = Run.objects.within(scope.environment_id).filter(pk=run_id).first()
    if run is None:
        raise NotFound
    return run


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilters:
    """Which runs to list; empty means any, `is_empty` that nothing can match."""

    statuses: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()
    machines: tuple[str, ...] = ()
    batch_id: UUID | None = None
    schedule_id: UUID | None = None
    bulk_action_id: UUID | None = None
    is_test: bool | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None
    is_empty: bool = False


def list_runs(scope: Scope, filters: RunFilters, page: CursorPage) -> Page[Run]:
    """The runs of an environment, newest first; a cursor goes on where the search was stopped.

    What no index serves is tried on a bounded number of runs, so a page may hold fewer than there
    are, or none, and have a next one.
    """
    if filters.is_empty:
        return Page(items=[])
    runs, tried = _indexed(scope.environment_id, filters), _tried(filters)
    if not filters.tags:
        return paged(runs, page, tried=tried, most_tried=MOST_TRIED)
    ids, edge = tagged_ids(
        scope.environment_id,
        filters.tags,
        page,
        since=filters.created_from,
        until=filters.created_to,
        most=_MOST_TAGGED,
    )
    found = page.along(runs.filter(tried, pk__in=ids))
    return page_of(list(found[: page.size + 1]), page, edge=edge)


def filtered_runs(environment_id: UUID, filters: RunFilters) -> RunQuerySet:
    """The runs of an environment that pass a filter, whatever that costs."""
    runs = _indexed(environment_id, filters).filter(_tried(filters))
    if filters.tags:
        tagged = RunTag.objects.filter(environment_id=environment_id, tag__in=filters.tags)
        runs = runs.filter(pk__in=tagged.values("run_id"))
    return runs


def _indexed(environment_id: UUID, filters: RunFilters) -> RunQuerySet:
    """The runs to which an index leads."""
    runs = Run.objects.within(environment_id)
    if len(filters.tasks) == 1:
        runs = runs.filter(task=filters.tasks[0])
    if filters.batch_id is not None:
        runs = runs.filter(batch_id=filters.batch_id)
    if filters.schedule_id is not None:
        runs = runs.filter(schedule_id=filters.schedule_id)
    if filters.bulk_action_id:
        touched = BulkItem.objects.filter(
            action_id=filters.bulk_action_id, action__environment_id=environment_id
        )
        runs = runs.filter(pk__in=touched.values(found=Coalesce("result_run_id", "run_id")))
    # an id begins with its time, so these prune partitions
    if filters.created_from:
        runs = runs.filter(pk__gte=floor(filters.created_from))
    if filters.created_to:
        runs = runs.filter(pk__lte=floor(filters.created_to))
    return runs


def _tried(filters: RunFilters) -> Q:
    """What has to be tried on each of them."""
    wanted = Q()
    for field, values in (
        ("status__in", filters.statuses),
        ("task__in", filters.tasks if len(filters.tasks) > 1 else ()),
        ("version_number__in", filters.versions),
        ("queue__in", filters.queues),
        ("machine__in", filters.machines),
    ):
        if values:
            wanted &= Q(**{field: values})
    if filters.is_test is not None:
        wanted &= Q(is_test=filters.is_test)
    return wanted


def list_events(scope: Scope, run_id: UUID) -> list[RunEvent]:
    """What happened to a run, in order."""
    get_run(scope, run_id)
    return list(RunEvent.objects.filter(run_id=run_id).order_by("position"))


def list_journal(
    scope: Scope, run_id: UUID, *, after: int = 0, most: int = 100
) -> list[JournalEntry]:
    """What a durable run has done, in order."""
    get_run(scope, run_id)
    entries = JournalEntry.objects.filter(run_id=run_id, seq__gt=after)
    return list(entries.order_by("seq")[:most])


def child_runs(scope: Scope, run_id: UUID, *, most: int = 100) -> list[Run]:
    """The oldest children of a run."""
    children = Run.objects.within(scope.environment_id).filter(parent_id=run_id)
    return list(children.order_by("pk")[:most])


def attempts(scope: Scope, run_id: UUID) -> list[Attempt]:
    """The attempts of a run, in order."""
    get_run(scope, run_id)
    return list(Attempt.objects.filter(run_id=run_id).order_by("pk"))


def get_batch(scope: Scope, batch_id: UUID) -> Batch:
    """One batch; raises NotFound."""
    batch = Batch.objects.filter(environment_id=scope.environment_id, pk=batch_id).first()
    if batch is None:
        raise NotFound
    return batch


def list_batches(scope: Scope, page: CursorPage, *, statuses: Collection[str] = ()) -> Page[Batch]:
    """The batches of an environment, of these statuses or any."""
    require(scope.actor, Permission.RUNS_READ)
    batches = Batch.objects.filter(environment_id=scope.environment_id)
    return paged(batches, page, tried=Q(status__in=statuses) if statuses else None)


def batch_runs(scope: Scope, batch_id: UUID) -> list[Run]:
    """The runs of a batch, by their index; an item that a cached run answers has that run."""
    ids = batch_run_ids(scope, batch_id)
    runs = Run.objects.within(scope.environment_id).in_bulk(ids)
    return [runs[run_id] for run_id in ids if run_id in runs]


def batch_run_ids(scope: Scope, batch_id: UUID) -> list[UUID]:
    """The runs of a batch, by their index, without looking at them."""
    get_batch(scope, batch_id)
    items = BatchItem.objects.filter(batch_id=batch_id, run_id__isnull=False).order_by("index")
    return [run_id for run_id in items.values_list("run_id", flat=True) if run_id]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchResult:
    """One item of a batch: its run, with what tells how it ended, or why there is none."""

    index: int
    task: str
    run: Run | None
    error: dict[str, Any] | None


def batch_results(scope: Scope, batch_id: UUID, *, after: int, most: int) -> list[BatchResult]:
    """The items after an index, in order; a run has only what tells how it ended."""
    get_batch(scope, batch_id)
    found = BatchItem.objects.filter(batch_id=batch_id, index__gt=after).order_by("index")[:most]
    items = list(found)
    fields = (
        "id", "task", "status", "status_reason", "output", "output_type", "error", "executed_ms",
        "finished_at",
    )  # fmt: skip
    mine = Run.objects.within(scope.environment_id).only(*fields)
    runs = mine.in_bulk([item.run_id for item in items if item.run_id])
    return [
        BatchResult(
            index=item.index,
            task=item.task,
            run=runs.get(item.run_id) if item.run_id else None,
            error=item.error,
        )
        for item in items
    ]


def batch_errors(scope: Scope, batch_id: UUID) -> list[BatchItem]:
    """The items of a batch that could not be triggered, by their index."""
    get_batch(scope, batch_id)
    return list(BatchItem.objects.filter(batch_id=batch_id, error__isnull=False).order_by("index"))


def get_bulk_action(scope: Scope, bulk_action_id: UUID) -> BulkAction:
    """One bulk action; raises NotFound."""
    require(scope.actor, Permission.RUNS_READ)
    mine = BulkAction.objects.filter(environment_id=scope.environment_id)
    found = mine.filter(pk=bulk_action_id).first()
    if found is None:
        raise NotFound("There is no such bulk action in this environment")
    return found


def list_bulk_actions(
    scope: Scope, page: CursorPage, *, kinds: Collection[str] = (), statuses: Collection[str] = ()
) -> Page[BulkAction]:
    """The bulk actions of an environment, of these kinds and statuses or any."""
    require(scope.actor, Permission.RUNS_READ)
    tried = Q(kind__in=kinds) if kinds else Q()
    tried &= Q(status__in=statuses) if statuses else Q()
    return paged(BulkAction.objects.filter(environment_id=scope.environment_id), page, tried=tried)


def bulk_items(
    scope: Scope, bulk_action_id: UUID, *, only_failed: bool = False, most: int = 100
) -> list[BulkItem]:
    """What became of the runs of a bulk action, the newest runs first."""
    items = get_bulk_action(scope, bulk_action_id).items.order_by("-run_id")
    return list((items.filter(error__isnull=False) if only_failed else items)[:most])


MOST_QUEUED = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLoad:
    """How many runs of a queue wait for a slot (up to a bound), and how many hold one.

    `held_until` is set while the queue's rate lets no run start.
    """

    queued: int = 0
    running: int = 0
    held_until: datetime | None = None


def queue_loads(
    scope: Scope, names: Collection[str], *, now: datetime, most: int = MOST_QUEUED
) -> dict[str, QueueLoad]:
    """The load of each of these queues, over all of its concurrency keys."""
    rows = sql.rows(
        sql.load("runs", "queue_loads"),
        {"environment": scope.environment_id, "queues": list(names), "most": most, "now": now},
    )
    known = {
        row["queue"]: QueueLoad(
            queued=row["queued"], running=row["running"], held_until=row["held_until"]
        )
        for row in rows
    }
    return {name: known.get(name, QueueLoad()) for name in names}


def running_of_key(scope: Scope, queue: str, key: str) -> int:
    """How many runs of one concurrency key of a queue execute."""
    lanes = Lane.objects.filter(
        slots__environment_id=scope.environment_id, slots__queue=queue, key=key
    )
    return lanes.aggregate(used=Sum("used"))["used"] or 0


# -- Tokens ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFilters:
    """Which tokens to list; empty means any."""

    statuses: tuple[WaitpointStatus, ...] = ()
    tags: tuple[str, ...] = ()
    idempotency_key: str | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None


_STATUS_OF_TOKEN: dict[WaitpointStatus, Q] = {
    WaitpointStatus.WAITING: Q(completed_at=None),
    WaitpointStatus.COMPLETED: Q(completed_at__isnull=False, error__isnull=True),
    WaitpointStatus.TIMED_OUT: Q(completed_at__isnull=False, error__isnull=False),
}


def list_tokens(scope: Scope, filters: TokenFilters, page: CursorPage) -> Page[Waitpoint]:
    """The tokens of an environment, newest first."""
    require(scope.actor, Permission.RUNS_READ)
    tokens, tried = _tokens(scope), Q()
    if filters.statuses:
        tried &= reduce(or_, (_STATUS_OF_TOKEN[status] for status in filters.statuses))
    if filters.tags:
        tried &= Q(tags__overlap=list(filters.tags))
    if filters.idempotency_key is not None:
        tokens = tokens.filter(idempotency_key=filters.idempotency_key)
    if filters.created_from:
        tokens = tokens.filter(pk__gte=floor(filters.created_from))
    if filters.created_to:
        tokens = tokens.filter(pk__lte=floor(filters.created_to))
    return paged(tokens, page, tried=tried, most_tried=MOST_TRIED)


def get_token(scope: Scope, token_id: UUID) -> Waitpoint:
    """One token; raises NotFound."""
    require(scope.actor, Permission.RUNS_READ)
    token = _tokens(scope).filter(pk=token_id).first()
    if token is None:
        raise NotFound
    return token


def waiting_for_token(scope: Scope, token_id: UUID, *, most: int = 100) -> list[Run]:
    """The runs that wait for a token now, the oldest first."""
    token = get_token(scope, token_id)
    waiters = Wait.objects.filter(waitpoint_id=token.pk).values("run_id")
    runs = Run.objects.within(scope.environment_id).open().filter(pk__in=waiters)
    return list(runs.order_by("pk")[:most])


def _tokens(scope: Scope) -> QuerySet[Waitpoint]:
    return Waitpoint.objects.filter(environment_id=scope.environment_id, kind=WaitpointKind.TOKEN)


# -- Why is this run not running? --------------------------------------------------------------


def explain(scope: Scope, run_id: UUID) -> str:
    """What a run is doing and, when it is not executing, why; one sentence for people."""
    return explanation(scope, run_id).text


def explanation(scope: Scope, run_id: UUID) -> Explanation:
    """The same as data: the blocker, its numbers, and who holds the slots that it waits for."""
    return explain_run(get_run(scope, run_id))


# -- The engine as a whole ---------------------------------------------------------------------


def invariant_violations(*, now: datetime) -> list[str]:
    """What must never be, in the live system; each sentence names the rule and how often."""
    rows = sql.rows(sql.load("runs", "invariants"), {"now": now})
    return [f"{row['rule']}: {row['violations']}" for row in rows if row["violations"]]


def exceeded_limits() -> list[str]:
    """What is over its limit: never by a start, only after a limit was lowered."""
    rows = sql.rows(sql.load("runs", "exceeded_limits"), {})
    return [f"{row['what']}: {row['used']} of {row['cap']}" for row in rows]


def holders(
    scope: Scope, *, queue: str | None = None, key: str | None = None, most: int = 100
) -> list[SlotHolder]:
    """Who holds the slots of an environment, of a queue or of one key, the longest first."""
    return slot_holders([scope.environment_id], queue=queue, key=key, most=most)
