"""Pages of long lists by a cursor in the address: `?after=` the last row, or `?before=` the first.

The newest come first, unless `?sort=oldest` asks for the other order.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from apps.core.errors import NotFound
from apps.core.ids import parse_public_id, public_id
from apps.core.paging import CursorPage, Page
from apps.dashboard.exports import MOST_EXPORTED, asked_form
from apps.dashboard.requests import PageRequest

OLDEST = "oldest"
_SIZE = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Pager:
    """The neighbours of a page, as they stand in addresses: what `<c-pager>` and `<c-order>` read.

    `previous` is ahead of it in the order of the list, `next` beyond it; empty where there is none.
    """

    previous: str = ""
    next: str = ""
    is_first: bool = True
    oldest_first: bool = False
    searched_to: datetime | None = None

    @property
    def has_neighbours(self) -> bool:
        return bool(self.previous or self.next)


def asked_page(request: PageRequest, prefix: str, *, size: int | None = None) -> CursorPage:
    """The page that the address names; a cursor that is none is the beginning.

    For a file it is the beginning, and as much as a file holds.
    """
    oldest_first = request.GET.get("sort") == OLDEST
    if asked_form(request):
        return CursorPage(size=MOST_EXPORTED, oldest_first=oldest_first)
    return CursorPage(
        size=size or _SIZE,
        after=_cursor(request, "after", prefix),
        before=_cursor(request, "before", prefix),
        oldest_first=oldest_first,
    )


def pager(asked: CursorPage, found: Page[Any], prefix: str) -> Pager:
    """Where the pages beside this one begin."""
    return Pager(
        previous=public_id(prefix, found.previous) if found.previous else "",
        next=public_id(prefix, found.next) if found.next else "",
        is_first=asked.cursor is None,
        oldest_first=asked.oldest_first,
        searched_to=found.searched_to,
    )


def _cursor(request: PageRequest, name: str, prefix: str) -> UUID | None:
    try:
        return parse_public_id(prefix, request.GET.get(name, ""))
    except NotFound:
        return None
