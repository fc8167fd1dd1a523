"""The run list for people: any filter, whatever it costs, within a bound for each page.

There is no index by status, so that a run changes its status without touching one (HOT updates).
A filter that no index serves is therefore tried on the newest `MOST_SCANNED` runs only; when they
do not fill a page, it says back to which run it has looked, and goes on from there when asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from django.db.models import Model, Q, QuerySet

from apps.core.ids import created_at, floor
from apps.core.paging import CursorPage
from apps.environments.scope import Scope
from apps.orgs.permissions import Permission, require
from apps.runs.models import Run, RunTag

_Row = TypeVar("_Row", bound=Model)

MOST_SCANNED = 5_000
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One page of runs, newest first.

    `older` and `newer` are cursors where there may be more. `searched_to` is set when the search
    stopped at its bound: everything back to then, or on the way to newer ones up to then, was seen.
    """

    runs: list[Run]
    older: UUID | None = None
    newer: UUID | None = None
    searched_to: datetime | None = None


def search_runs(scope: Scope, search: RunSearch, page: CursorPage) -> Found:
    """One page of the runs that match."""
    require(scope.actor, Permission.RUNS_READ)
    walk = _Walk(scope, page)
    candidates, edge = _tagged(walk, search) if search.tags else _newest(walk, search)
    found = list(candidates.filter(_rest(search)).only(*_SHOWN)[: page.size + 1])
    return walk.page(found, edge)


def export_runs(scope: Scope, search: RunSearch) -> Iterator[list[Run]]:
    """Everything that matches, newest first, in parts; at most MOST_EXPORTED."""
    after, left = None, MOST_EXPORTED
    while left > 0:
        page = CursorPage(size=min(left, _EXPORTED_AT_ONCE), after=after)
        found = search_runs(scope, search, page)
        if found.runs:
            yield found.runs
        left -= len(found.runs)
        after = found.older
        if after is None:
            return


def recent_payloads(scope: Scope, search: RunSearch, page: CursorPage) -> list[Run]:
    """The newest runs that match and have a payload of their own row, with it."""
    require(scope.actor, Permission.RUNS_READ)
    found = search_runs(scope, search, page).runs
    rows = Run.objects.within(scope.environment_id).filter(
        pk__in=[run.pk for run in found], payload_type="application/json", payload__isnull=False
    )
    return list(rows.only("id", "status", "created_at", "payload").order_by("-pk"))


@dataclass(frozen=True, slots=True)
class _Walk:
    """The way that a page goes from its cursor: towards older runs, or back towards newer ones."""

    scope: Scope
    asked: CursorPage

    @property
    def is_backward(self) -> bool:
        return self.asked.before is not None

    def along(self, rows: QuerySet[_Row], key: str) -> QuerySet[_Row]:
        """Rows beyond the cursor, in the order of the way."""
        rows = rows.filter(environment_id=self.scope.environment_id)
        if self.is_backward:
            return rows.filter(**{f"{key}__gt": self.asked.before}).order_by(key)
        if self.asked.after is not None:
            rows = rows.filter(**{f"{key}__lt": self.asked.after})
        return rows.order_by(f"-{key}")

    def until(self, edge: UUID) -> Q:
        """Not beyond the last run that is tried."""
        return Q(pk__lte=edge) if self.is_backward else Q(pk__gte=edge)

    def page(self, found: list[Run], edge: UUID | None) -> Found:
        """What was found, newest first; `edge` is where the search stopped, unless it came to an
        end or found enough before."""
        size = self.asked.size
        is_full = len(found) > size
        runs = found[:size]
        stop = None if is_full else edge
        further = runs[-1].pk if is_full else stop
        back = runs[0].pk if runs else self.asked.before or self.asked.after
        has_back = self.asked.after is not None or self.is_backward
        searched_to = created_at(stop) if stop else None
        if self.is_backward:
            older = back if runs else self.asked.before
            return Found(runs=runs[::-1], older=older, newer=further, searched_to=searched_to)
        newer = back if has_back else None
        return Found(runs=runs, older=further, newer=newer, searched_to=searched_to)


def _newest(walk: _Walk, search: RunSearch) -> tuple[QuerySet[Run], UUID | None]:
    """The runs that an index finds, and the last that is tried when it does not find all."""
    runs = walk.along(Run.objects.filter(_of_indexes(search)), "pk")
    if not _rest(search):
        return runs, None
    edge = runs.values_list("pk", flat=True)[MOST_SCANNED - 1 : MOST_SCANNED].first()
    return (runs.filter(walk.until(edge)) if edge else runs), edge


def _tagged(walk: _Walk, search: RunSearch) -> tuple[QuerySet[Run], UUID | None]:
    """The runs with the first tag: their ids come from the tags' own index."""
    tags = walk.along(RunTag.objects.filter(tag=search.tags[0]), "run_id")
    if search.created_from:
        tags = tags.filter(run_id__gte=floor(search.created_from))
    if search.created_to:
        tags = tags.filter(run_id__lt=floor(search.created_to))
    is_plain = not (_rest(search) or search.tasks or search.batch_id or search.run_id)
    most = walk.asked.size + 1 if is_plain else _TAGGED
    ids = list(tags.values_list("run_id", flat=True)[:most])
    runs = walk.along(Run.objects.filter(_of_indexes(search), pk__in=ids), "pk")
    return runs, ids[-1] if len(ids) == most else None


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
