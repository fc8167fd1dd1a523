"""Short lists that are shown whole: filtered by a text, sorted by a column, exported as they are.

The address holds all of it: `?q=mail&sort=-name`. A column sorts the way that one mostly wants, a
number from the largest down; with `-` before its name, it sorts the other way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from apps.dashboard.requests import PageRequest
from apps.dashboard.statuses import look_of

Row = TypeVar("Row")
_LONGEST_WORD = 256


@dataclass(frozen=True, slots=True)
class By:
    """A column to sort by; `most` puts the largest first. A row without a value comes last."""

    key: Callable[[Any], Any]
    most: bool = False


@dataclass(frozen=True, slots=True)
class Order:
    """How a list is sorted: what `<c-sort>` reads."""

    name: str
    is_descending: bool
    is_reversed: bool


@dataclass(frozen=True, slots=True)
class Listed(Generic[Row]):
    """What is left of a list, in its order."""

    rows: list[Row]
    text: str
    order: Order
    is_empty: bool  # before anything was filtered

    @property
    def is_filtered(self) -> bool:
        return bool(self.text)


def listed(
    request: PageRequest,
    rows: Iterable[Row],
    *,
    text: Callable[[Row], str],
    orders: Mapping[str, By],
    name_of_text: str = "q",
) -> Listed[Row]:
    """The rows that the address asks for; the first of `orders` counts when it names none."""
    everything = list(rows)
    words = asked_text(request, name_of_text)
    left = [row for row in everything if words.lower() in text(row).lower()]
    asked = request.GET.get("sort", "")
    name = asked.removeprefix("-")
    is_known = name in orders
    name = name if is_known else next(iter(orders))
    is_reversed = is_known and asked.startswith("-")
    is_descending = orders[name].most != is_reversed
    return Listed(
        rows=_sorted(left, orders[name].key, is_descending=is_descending),
        text=words,
        order=Order(name, is_descending, is_reversed),
        is_empty=not everything,
    )


def asked_text(request: PageRequest, name: str = "q") -> str:
    """What is typed into the search of a list."""
    return request.GET.get(name, "").replace("\0", "").strip()[:_LONGEST_WORD]


def asked_choice(request: PageRequest, name: str, known: Iterable[str]) -> str:
    """One of the values that a filter may have; anything else is no filter."""
    asked = request.GET.get(name, "")
    return asked if asked in {str(value) for value in known} else ""


def choices(known: Iterable[str], anything: str) -> list[tuple[str, str]]:
    """The options of `<c-choice>` for values that have a look, after the one that is no filter."""
    return [("", anything), *((str(value), look_of(str(value)).label) for value in known)]


def _sorted(rows: list[Row], key: Callable[[Row], Any], *, is_descending: bool) -> list[Row]:
    known = [row for row in rows if key(row) is not None]
    unknown = [row for row in rows if key(row) is None]
    return [*sorted(known, key=key, reverse=is_descending), *unknown]
