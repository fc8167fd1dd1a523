"""Pages in the spellings of the contract: by cursor for long lists, by number for short ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.http import QueryDict
from drf_spectacular.utils import OpenApiParameter

from apps.api.errors import BadRequest
from apps.core.errors import NotFound
from apps.core.ids import parse_public_id, public_id
from apps.core.paging import LARGEST_PAGE, CursorPage, Page

_PREFIX = "cursor"
_DEFAULT_SIZE = 25
_DEFAULT_PER_PAGE = 20
_LAST_PAGE = 1_000_000

CURSOR_PARAMETERS = [
    OpenApiParameter(
        "page[size]", {"type": "integer", "minimum": 1, "maximum": LARGEST_PAGE, "default": 25}
    ),
    OpenApiParameter("page[after]", str, description="A `pagination.next` of an earlier answer."),
    OpenApiParameter(
        "page[before]", str, description="A `pagination.previous` of an earlier answer."
    ),
]

NUMBER_PARAMETERS = [
    OpenApiParameter("page", {"type": "integer", "minimum": 1, "default": 1}),
    OpenApiParameter(
        "perPage", {"type": "integer", "minimum": 1, "maximum": LARGEST_PAGE, "default": 20}
    ),
]


def cursor_page(query: QueryDict) -> CursorPage:
    """The page that a query asks for; raises BadRequest."""
    size = _number(query, "page[size]", default=_DEFAULT_SIZE, largest=LARGEST_PAGE)
    after, before = _cursor(query, "page[after]"), _cursor(query, "page[before]")
    if after is None and before is None:
        return CursorPage(size=size)
    # Clients that turn around keep the cursor of the way they came; the later one is meant.
    if before is None or (after is not None and after.issued_ms > before.issued_ms):
        assert after is not None  # noqa: S101 -- one of the two is there
        return CursorPage(size=size, after=after.row)
    return CursorPage(size=size, before=before.row)


def pagination(page: Page[Any], *, now: datetime) -> dict[str, str]:
    """Where the neighbours of a page begin; absent when there is none."""
    cursors = {"next": page.next, "previous": page.previous}
    issued_ms = int(now.timestamp() * 1000)
    return {
        name: f"{public_id(_PREFIX, row)}.{issued_ms:x}"
        for name, row in cursors.items()
        if row is not None
    }


def numbered(
    query: QueryDict, items: Sequence[Any] | QuerySet[Any]
) -> tuple[Sequence[Any], dict[str, int]]:
    """The page of a list that a query asks for, and where it is; raises BadRequest."""
    page = _number(query, "page", default=1, largest=_LAST_PAGE)
    size = _number(query, "perPage", default=_DEFAULT_PER_PAGE, largest=LARGEST_PAGE)
    count = items.count() if isinstance(items, QuerySet) else len(items)
    place = {"currentPage": page, "totalPages": max(1, math.ceil(count / size)), "count": count}
    return list(items[(page - 1) * size : page * size]), place


@dataclass(frozen=True, slots=True)
class _Cursor:
    row: UUID
    issued_ms: int


def _number(query: QueryDict, name: str, *, default: int, largest: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= largest):
        raise BadRequest(f"{name} must be a whole number from 1 to {largest}")
    return int(text)


def _cursor(query: QueryDict, name: str) -> _Cursor | None:
    text = query.get(name)
    if not text:
        return None
    row, _, issued = text.partition(".")
    try:
        return _Cursor(parse_public_id(_PREFIX, row), int(issued[:16], 16))
    except (NotFound, ValueError):
        raise BadRequest(f"{name} is not a cursor of this list") from None
