"""The filters of the run list, as its address has them: `?status=FAILED&task=resize&period=24h`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar
from urllib.parse import urlencode
from uuid import UUID

from django.http import QueryDict

from apps.core.durations import parse_duration
from apps.core.errors import Invalid, NotFound
from apps.core.ids import parse_public_id
from apps.dashboard.statuses import look_of
from apps.runs.search import RunSearch
from apps.runs.states import RunStatus

T = TypeVar("T")

PAGE_SIZE = 50
PERIODS = {"1h": "Last hour", "24h": "Last 24 hours", "7d": "Last 7 days", "30d": "Last 30 days"}
STATUS_GROUPS = (
    ("Not ended", (
        RunStatus.PENDING_VERSION, RunStatus.DELAYED, RunStatus.QUEUED, RunStatus.DEQUEUED,
        RunStatus.EXECUTING, RunStatus.WAITING,
    )),
    ("Ended", (
        RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CRASHED, RunStatus.SYSTEM_FAILURE,
        RunStatus.TIMED_OUT, RunStatus.EXPIRED, RunStatus.CANCELED,
    )),
)  # fmt: skip
_NAMES = (
    "status",
    "task",
    "tag",
    "version",
    "queue",
    "batch",
    "test",
    "root",
    "period",
    "from",
    "to",
    "q",
    "sort",
)
_LONGEST_WORD = 256
_MOST_WORDS = 20


@dataclass(frozen=True, slots=True)
class Chip:
    """A filter that is set: what it says, and the query without it."""

    name: str
    value: str
    without: str


@dataclass(frozen=True, slots=True)
class RunFilters:
    """What the visitor asked for, as the page shows it and as the query takes it.

    `problems` names what meant nothing; such a filter is left out.
    """

    search: RunSearch
    chips: list[Chip]
    problems: list[str] = field(default_factory=list)
    query: str = ""

    @property
    def is_any(self) -> bool:
        """Whether everything is listed."""
        return not self.chips and not self.problems


def read_filters(query: QueryDict, *, now: datetime) -> RunFilters:
    """The filters of an address."""
    read = _Reader(query)
    period = read.one("period", lambda text: parse_duration(text, field="period"))
    run_id, tasks, tags = _free_text(read)
    search = RunSearch(
        run_id=run_id,
        statuses=read.many("status", _status),
        tasks=(*read.many("task", str), *tasks),
        tags=(*read.many("tag", str), *tags),
        versions=read.many("version", str),
        queues=read.many("queue", str),
        batch_id=read.one("batch", lambda text: parse_public_id("batch", text)),
        is_test=read.one("test", _flag),
        only_roots=read.one("root", _flag) or False,
        created_from=now - period if period else read.one("from", _moment),
        created_to=read.one("to", _moment),
    )
    kept = [(name, value) for name in _NAMES for value in read.words(name)]
    return RunFilters(
        search=search,
        chips=[_chip(name, value, kept) for name, value in kept if name not in ("q", "sort")],
        problems=read.problems,
        query=urlencode(kept),
    )


class _Reader:
    def __init__(self, query: QueryDict) -> None:
        self._query = query
        self.problems: list[str] = []

    def words(self, name: str) -> list[str]:
        """The values of a name that may be looked for at all."""
        words = dict.fromkeys(word.strip() for word in self._query.getlist(name)[:_MOST_WORDS])
        return [word for word in words if word and "\0" not in word and len(word) <= _LONGEST_WORD]

    def many(self, name: str, parse: Callable[[str], T]) -> tuple[T, ...]:
        return tuple(self._parsed(name, parse))

    def one(self, name: str, parse: Callable[[str], T]) -> T | None:
        return next(self._parsed(name, parse), None)

    def _parsed(self, name: str, parse: Callable[[str], T]) -> Iterator[T]:
        for word in self.words(name):
            try:
                yield parse(word)
            except (NotFound, Invalid, ValueError, OverflowError):
                self.problems.append(f"{name} “{word}” means nothing and was left out.")


def _free_text(read: _Reader) -> tuple[UUID | None, list[str], list[str]]:
    """What is typed into the search: the id of a run, #tag, or the id of a task."""
    text = next(iter(read.words("q")), "")
    if text.startswith("run_"):
        return read.one("q", lambda word: parse_public_id("run", word)), [], []
    if text.startswith("#"):
        return None, [], [text[1:].strip()]
    return None, [text] if text else [], []


def _chip(name: str, value: str, kept: list[tuple[str, str]]) -> Chip:
    without = [pair for pair in kept if pair != (name, value)]
    return Chip(name=_label(name), value=_shown(name, value), without=f"?{urlencode(without)}")


def _label(name: str) -> str:
    return {"test": "Test runs", "root": "Children", "from": "From", "to": "Until"}.get(
        name, name.capitalize()
    )


def _shown(name: str, value: str) -> str:
    if name == "status":
        return look_of(value).label
    if name == "period":
        return PERIODS.get(value, value)
    if name == "test":
        return "only" if value == "yes" else "left out"
    if name == "root":
        return "left out"
    return value


def _status(text: str) -> str:
    return RunStatus(text).value


def _flag(text: str) -> bool:
    if text not in ("yes", "no"):
        raise ValueError
    return text == "yes"


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
