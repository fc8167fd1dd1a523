"""Lists page by page, by a cursor and never by counting: the newest first, or the oldest.

Rows whose primary keys are UUIDv7 lie in the order of their time, so one index serves both orders.
What no index serves is tried on a bounded number of rows; when these do not fill a page, it says
how far it has looked, and its cursor goes on from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

from django.db.models import Q, QuerySet

from apps.core.ids import created_at

T = TypeVar("T")

LARGEST_PAGE = 100
MOST_TRIED = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CursorPage:
    """Which page: up to `size` rows beyond `after` in the order of the list, or ahead of `before`.

    The order is the newest first, unless `oldest_first`.
    """

    size: int = 25
    after: UUID | None = None
    before: UUID | None = None
    oldest_first: bool = False

    @property
    def is_backward(self) -> bool:
        """Whether it is read from its end, towards the beginning of the list."""
        return self.before is not None

    @property
    def cursor(self) -> UUID | None:
        """The row beyond which it lies, in the direction in which it is read."""
        return self.before if self.is_backward else self.after

    @property
    def is_ascending(self) -> bool:
        """Whether it is read from older rows to newer ones."""
        return self.is_backward != self.oldest_first

    def along(self, rows: QuerySet[Any, T], key: str = "pk") -> QuerySet[Any, T]:
        """The rows beyond the cursor, in the direction of reading."""
        if self.cursor is not None:
            beyond = "gt" if self.is_ascending else "lt"
            rows = rows.filter(**{f"{key}__{beyond}": self.cursor})
        return rows.order_by(key if self.is_ascending else f"-{key}")

    def until(self, edge: UUID) -> Q:
        """Not beyond the last row that is looked at."""
        return Q(pk__lte=edge) if self.is_ascending else Q(pk__gte=edge)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """One page in the order of its list, and the cursors of its neighbours where there are any.

    `stopped_at` is set when the search ended at its bound: everything up to that row was seen.
    """

    items: list[T]
    next: UUID | None = None
    previous: UUID | None = None
    stopped_at: UUID | None = None

    @property
    def searched_to(self) -> datetime | None:
        """The time of the row at which the search stopped at its bound."""
        return created_at(self.stopped_at) if self.stopped_at else None


def paged(
    rows: QuerySet[Any, T],
    page: CursorPage,
    *,
    tried: Q | None = None,
    most_tried: int = MOST_TRIED,
) -> Page[T]:
    """One page of rows, to which an index leads; `tried` is what each has to pass as well."""
    found, edge = page.along(rows), None
    if tried:
        edge = found.values_list("pk", flat=True)[most_tried - 1 : most_tried].first()
        found = found.filter(page.until(edge), tried) if edge else found.filter(tried)
    return page_of(list(found[: page.size + 1]), page, edge=edge)


def page_of(found: list[Any], page: CursorPage, *, edge: UUID | None = None) -> Page[Any]:
    """The page of up to `size` + 1 rows that were read along its way.

    `edge` is where the search stopped, unless it came to an end or found enough before.
    """
    is_full = len(found) > page.size
    items = found[: page.size]
    stop = None if is_full else edge
    further = items[-1].pk if is_full else stop
    back = items[0].pk if items else (page.cursor if stop else None)
    if page.is_backward:
        return Page(items=items[::-1], next=back, previous=further, stopped_at=stop)
    back = back if page.after is not None else None
    return Page(items=items, next=further, previous=back, stopped_at=stop)


def merged(pages: Sequence[Page[T]], page: CursorPage) -> Page[T]:
    """The same page of several lists as one page of them all.

    Nothing is shown from beyond the place up to which each of the lists has been looked at.
    """
    rows = sorted((row for found in pages for row in found.items), key=_key)
    rows = rows if page.is_ascending else rows[::-1]
    furthers = [found.previous if page.is_backward else found.next for found in pages]
    bars = [further for further in furthers if further is not None]
    bar = (min(bars) if page.is_ascending else max(bars)) if bars else None
    if bar is not None:
        is_seen = bar.__ge__ if page.is_ascending else bar.__le__
        rows = [row for row in rows if is_seen(_key(row))]
    kept = rows[: page.size]
    further = _key(kept[-1]) if len(rows) > len(kept) else bar
    backs = [found.next if page.is_backward else found.previous for found in pages]
    back = (_key(kept[0]) if kept else page.cursor) if any(backs) else None
    if page.is_backward:
        return Page(items=kept[::-1], next=back, previous=further)
    return Page(items=kept, next=further, previous=back)


def _key(row: Any) -> UUID:
    key: UUID = row.pk
    return key
