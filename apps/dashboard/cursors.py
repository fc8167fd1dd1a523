"""Pages of lists by a cursor in the address: `?after=` the last row, or `?before=` the first."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from apps.core.errors import NotFound
from apps.core.ids import parse_public_id, public_id
from apps.core.paging import CursorPage, Page
from apps.dashboard.requests import PageRequest

_SIZE = 25


def asked_page(request: PageRequest, prefix: str, *, size: int = _SIZE) -> CursorPage:
    """The page that the address names; a cursor that is none is the beginning."""
    return CursorPage(
        size=size,
        after=_cursor(request, "after", prefix),
        before=_cursor(request, "before", prefix),
    )


def neighbours(found: Page[Any], prefix: str) -> dict[str, str]:
    """The cursors of the pages beside this one, as they stand in addresses."""
    return {
        "older": public_id(prefix, found.next) if found.next else "",
        "newer": public_id(prefix, found.previous) if found.previous else "",
    }


def _cursor(request: PageRequest, name: str, prefix: str) -> UUID | None:
    try:
        return parse_public_id(prefix, request.GET.get(name, ""))
    except NotFound:
        return None
