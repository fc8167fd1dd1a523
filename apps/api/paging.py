"""Paging by cursor, in the spelling of the contract: ``page[size]=10&page[after]=…``."""

from __future__ import annotations

from typing import Any

from django.http import QueryDict
from drf_spectacular.utils import OpenApiParameter

from apps.api.errors import BadRequest
from apps.core.errors import NotFound
from apps.core.ids import parse_public_id, public_id
from apps.core.paging import LARGEST_PAGE, CursorPage, Page

_PREFIX = "cursor"
_DEFAULT_SIZE = 25

CURSOR_PARAMETERS = [
    OpenApiParameter(
        "page[size]", {"type": "integer", "minimum": 1, "maximum": LARGEST_PAGE, "default": 25}
    ),
    OpenApiParameter("page[after]", str, description="A `pagination.next` of an earlier answer."),
    OpenApiParameter(
        "page[before]", str, description="A `pagination.previous` of an earlier answer."
    ),
]


def cursor_page(query: QueryDict) -> CursorPage:
    """The page that a query asks for; raises BadRequest."""
    after, before = query.get("page[after]"), query.get("page[before]")
    if after and before:
        raise BadRequest("page[after] and page[before] exclude each other")
    return CursorPage(
        size=_size(query.get("page[size]")),
        after=_cursor(after, "page[after]") if after else None,
        before=_cursor(before, "page[before]") if before else None,
    )


def pagination(page: Page[Any]) -> dict[str, str]:
    """Where the neighbours of a page begin; absent when there is none."""
    cursors = {"next": page.next, "previous": page.previous}
    return {
        name: public_id(_PREFIX, cursor) for name, cursor in cursors.items() if cursor is not None
    }


def _size(text: str | None) -> int:
    if text is None:
        return _DEFAULT_SIZE
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= LARGEST_PAGE):
        raise BadRequest(f"page[size] must be a whole number from 1 to {LARGEST_PAGE}")
    return int(text)


def _cursor(text: str, name: str) -> Any:
    try:
        return parse_public_id(_PREFIX, text)
    except NotFound:
        raise BadRequest(f"{name} is not a cursor of this list") from None
