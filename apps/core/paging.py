"""Lists page by page, newest first, by a cursor and never by counting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

from django.db.models import QuerySet

T = TypeVar("T")

LARGEST_PAGE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class CursorPage:
    """Which page: up to `size` rows that are older than `after`, or newer than `before`."""

    size: int = 25
    after: UUID | None = None
    before: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """One page, newest first, and the cursors of its neighbours where there are any."""

    items: list[T]
    next: UUID | None = None
    previous: UUID | None = None


def newest_first(rows: QuerySet[Any, T], page: CursorPage) -> Page[T]:
    """One page of rows whose primary keys are UUIDv7; `rows` brings the filters."""
    if page.before is not None:
        found = list(rows.filter(pk__gt=page.before).order_by("pk")[: page.size + 1])
        return _page(found[: page.size][::-1], older=True, newer=len(found) > page.size)
    if page.after is not None:
        rows = rows.filter(pk__lt=page.after)
    found = list(rows.order_by("-pk")[: page.size + 1])
    newer = page.after is not None
    return _page(found[: page.size], older=len(found) > page.size, newer=newer)


def merged(pages: Sequence[Page[T]], page: CursorPage) -> Page[T]:
    """The same page of several lists as one page of them all."""
    rows = sorted((row for found in pages for row in found.items), key=_key, reverse=True)
    is_backward = page.before is not None
    kept = rows[-page.size :] if is_backward else rows[: page.size]
    is_cut = len(rows) > len(kept)
    older = is_backward or is_cut or any(found.next for found in pages)
    newer = any(found.previous for found in pages) or (is_backward and is_cut)
    return _page(kept, older=older, newer=newer)


def _key(row: Any) -> UUID:
    key: UUID = row.pk
    return key


def _page(items: list[Any], *, older: bool, newer: bool) -> Page[Any]:
    return Page(
        items=items,
        next=items[-1].pk if items and older else None,
        previous=items[0].pk if items and newer else None,
    )
