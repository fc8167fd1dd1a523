"""Pages of several lists as one: in both orders and both ways, and never past what was seen."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import pytest

from apps.core.paging import CursorPage, Page, merged, page_of


@dataclass(frozen=True)
class Row:
    pk: UUID


def row(number: int) -> Row:
    return Row(UUID(int=number))


def numbers(page: Page[Row]) -> list[int]:
    return [each.pk.int for each in page.items]


def number(cursor: UUID | None) -> int | None:
    return None if cursor is None else cursor.int


def asked(items: list[int], page: CursorPage, *, edge: int | None = None) -> Page[Row]:
    """The page of one list as `paged` makes it of all its rows."""
    cursor = page.cursor.int if page.cursor else None
    left = sorted(items, reverse=not page.is_ascending)
    if cursor is not None:
        left = [n for n in left if (n > cursor if page.is_ascending else n < cursor)]
    if edge is not None:
        left = [n for n in left if (n <= edge if page.is_ascending else n >= edge)]
    stop = None if edge is None else UUID(int=edge)
    return page_of([row(n) for n in left[: page.size + 1]], page, edge=stop)


@pytest.mark.parametrize("oldest_first", [False, True])
def test_walking_several_lists_meets_every_row_once_and_back(oldest_first):
    lists = [[1, 4, 5, 9], [2, 3, 10], []]
    everything = sorted((n for each in lists for n in each), reverse=not oldest_first)
    seen, page = [], CursorPage(size=2, oldest_first=oldest_first)
    while True:
        found = merged([asked(each, page) for each in lists], page)
        seen.append(numbers(found))
        if found.next is None:
            break
        page = CursorPage(size=2, after=found.next, oldest_first=oldest_first)
    assert [n for part in seen for n in part] == everything
    back = []
    while found.previous is not None:
        page = CursorPage(size=2, before=found.previous, oldest_first=oldest_first)
        found = merged([asked(each, page) for each in lists], page)
        back.append(numbers(found))
    assert back == seen[:-1][::-1]


def test_a_list_that_was_stopped_holds_back_what_lies_beyond():
    """The first list was only looked at down to 7, so of the second nothing older is shown yet."""
    page = CursorPage(size=5)
    found = merged([asked([9, 3], page, edge=7), asked([8, 6, 5], page)], page)
    assert (numbers(found), number(found.next)) == ([9, 8], 7)
    page = CursorPage(size=5, after=found.next)
    rest = merged([asked([9, 3], page), asked([8, 6, 5], page)], page)
    assert (numbers(rest), rest.next) == ([6, 5, 3], None)


def test_a_stopped_search_says_how_far_it_came():
    page = CursorPage(size=2)
    assert page_of([], page, edge=UUID(int=7)).stopped_at == UUID(int=7)
    assert number(page_of([], page, edge=UUID(int=7)).next) == 7
    full = page_of([row(9), row(8), row(7)], page, edge=UUID(int=1))
    assert (full.stopped_at, number(full.next)) == (None, 8)
