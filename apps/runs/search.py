"""The run list for people: any filter, whatever it costs, within a bound for each page.

There is no index by status, so that a run changes its status without touching one (HOT updates).
A filter that no index serves is therefore tried on the newest `MOST_SCANNED` runs only; when they
do not fill a page, it says back to which run it has looked, and goes on from there when asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Q

from apps.core.ids import floor
from apps.core.paging import MOST_TRIED, CursorPage, Page, page_of, paged
from apps.environments.scope import Scope
from apps.orgs.permissions import Permission, require
from apps.runs.models import Run, RunQuerySet
from apps.runs.tagged import tagged_ids

MOST_SCANNED = MOST_TRIED
_TAGGED = 1_000
_EXPORTED_AT_ONCE = 500
MOST_EXPORTED = 10_000
# What a row of the list shows; payloads and outputs may be large.
_SHOWN = (
    "id", "environment_id", "task", "status", "status_reason", "queue", "version_number", "tags",
    "is_test", "source", "attempt_count", "executed_ms", "created_at", "started_at", "finished_at",
    "delayed_until", "parent_id", "root_id", "batch_id", "machine", "concurrency_key",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSearch:
    """Which runs to list; empty means any."""

    run_id: UUID | None = None
    statuses: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()  # all of them
    versions: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()
    batch_id: UUID | None = None
    is_test: bool | None = None
    only_roots: bool = False
    created_from: datetime | None = None
    created_to: datetime | None = None


def search_runs(scope: Scope, search: RunSearch, page: CursorPage) -> Page[Run]:
    """One page of the runs that match."""
    require(scope.actor, Permission.RUNS_READ)
    runs = Run.objects.within(scope.environment_id).filter(_of_indexes(search)).only(*_SHOWN)
    if search.tags:
        return _tagged(scope, runs, search, page)
    return paged(runs, page, tried=_rest(search), most_tried=MOST_SCANNED)


def export_runs(
    scope: Scope, search: RunSearch, *, oldest_first: bool = False
) -> Iterator[list[Run]]:
    """Everything that matches, in its order, in parts; at most MOST_EXPORTED."""
    after, left = None, MOST_EXPORTED
    while left > 0:
        size = min(left, _EXPORTED_AT_ONCE)
        page = CursorPage(size=size, after=after, oldest_first=oldest_first)
        found = search_runs(scope, search, page)
        if found.items:
            yield found.items
        left -= len(found.items)
        after = found.next
        if after is None:
            return


def recent_payloads(scope: Scope, search: RunSearch, page: CursorPage) -> list[Run]:
    """The newest runs that match and have a payload of their own row, with it."""
    require(scope.actor, Permission.RUNS_READ)
    found = search_runs(scope, search, page).items
    rows = Run.objects.within(scope.environment_id).filter(
        pk__in=[run.pk for run in found], payload_type="application/json", payload__isnull=False
    )
    return list(rows.only("id", "status", "created_at", "payload").order_by("-pk"))


def _tagged(scope: Scope, runs: RunQuerySet, search: RunSearch, page: CursorPage) -> Page[Run]:
    """Those with the first tag, whose ids come from the tags' own index, that have the others."""
    is_plain = not (_rest(search) or search.tasks or search.batch_id or search.run_id)
    ids, edge = tagged_ids(
        scope.environment_id,
        search.tags[:1],
        page,
        since=search.created_from,
        until=search.created_to,
        most=page.size + 1 if is_plain else _TAGGED,
    )
    found = page.along(runs.filter(_rest(search), pk__in=ids))
    return page_of(list(found[: page.size + 1]), page, edge=edge)


def _of_indexes(search: RunSearch) -> Q:
    wanted = Q()
    if search.run_id is not None:
        wanted &= Q(pk=search.run_id)
    if search.batch_id is not None:
        wanted &= Q(batch_id=search.batch_id)
    if len(search.tasks) == 1:
        wanted &= Q(task=search.tasks[0])
    if search.created_from:
        wanted &= Q(pk__gte=floor(search.created_from))
    if search.created_to:
        wanted &= Q(pk__lt=floor(search.created_to))
    return wanted


def _rest(search: RunSearch) -> Q:
    """What has to be tried on each run."""
    wanted = Q()
    for field, values in (
        ("status__in", search.statuses),
        ("task__in", search.tasks if len(search.tasks) > 1 else ()),
        ("version_number__in", search.versions),
        ("queue__in", search.queues),
        ("tags__contains", list(search.tags[1:])),
    ):
        if values:
            wanted &= Q(**{field: values})
    if search.is_test is not None:
        wanted &= Q(is_test=search.is_test)
    if search.only_roots:
        wanted &= Q(parent_id=None)
    return wanted
