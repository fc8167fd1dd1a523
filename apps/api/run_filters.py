"""The filters of run lists, as the contract spells them: ``filter[status]=QUEUED,EXECUTING``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from django.http import QueryDict
from drf_spectacular.utils import OpenApiParameter

from apps.api.caller import Caller
from apps.api.errors import BadRequest
from apps.api.serializers.base import is_storable
from apps.api.serializers.runs import STATUSES
from apps.core.durations import parse_duration
from apps.core.errors import Invalid, NotFound
from apps.core.ids import parse_public_id
from apps.runs.queries import RunFilters
from apps.runs.states import RunStatus
from holdfast.machines import MACHINES

_LEGACY = {
    "WAITING_FOR_DEPLOY": RunStatus.PENDING_VERSION,
    "FROZEN": RunStatus.WAITING,
    "REATTEMPTING": RunStatus.EXECUTING,
    "INTERRUPTED": RunStatus.FAILED,
}
_YEAR_3000_MS = 32_503_680_000_000


def _parameter(name: str, description: str, kind: Any = str) -> OpenApiParameter:
    return OpenApiParameter(name, kind, description=description)


FILTER_PARAMETERS = [
    _parameter("filter[status]", f"Of {', '.join(STATUSES)}; several are separated by commas."),
    _parameter("filter[taskIdentifier]", "Ids of tasks, separated by commas."),
    _parameter("filter[version]", "Versions, separated by commas."),
    _parameter("filter[tag]", "Tags, separated by commas; a run has at least one of them."),
    _parameter("filter[queue]", "`task/<id>` or names of queues, separated by commas."),
    _parameter("filter[machine]", "Machine presets, separated by commas."),
    _parameter("filter[batch]", "The id of a batch."),
    _parameter("filter[schedule]", "The id of a schedule."),
    _parameter("filter[bulkAction]", "The id of a bulk action."),
    _parameter("filter[error]", "The id of an error."),
    _parameter("filter[region]", "Ignored: there are no regions here."),
    _parameter("filter[isTest]", "Only test runs, or only others.", bool),
    _parameter("filter[createdAt][from]", "ISO 8601, or milliseconds since 1970."),
    _parameter("filter[createdAt][to]", "ISO 8601, or milliseconds since 1970."),
    _parameter("filter[createdAt][period]", "How far back, such as 7d."),
]


def run_filters(query: QueryDict, *, now: datetime) -> RunFilters:
    """What a query asks for; raises BadRequest for a value that means nothing."""
    read = FilterReader(query)
    period = read.one("createdAt][period", lambda text: parse_duration(text, field="period"))
    return RunFilters(
        statuses=read.many("status", _status),
        tasks=read.many("taskIdentifier", str),
        versions=read.many("version", str),
        tags=read.many("tag", str),
        queues=read.many("queue", str),
        machines=read.many("machine", _machine),
        batch_id=read.one("batch", lambda text: parse_public_id("batch", text)),
        is_test=read.one("isTest", _flag),
        created_from=now - period if period else read.one("createdAt][from", moment),
        created_to=read.one("createdAt][to", moment),
        schedule_id=read.one("schedule", lambda text: parse_public_id("sched", text)),
        bulk_action_id=read.one("bulkAction", lambda text: parse_public_id("bulk", text)),
        is_empty=bool(query.get("filter[error]")),
    )


def require_tasks(caller: Caller, filters: RunFilters) -> None:
    """Hold a public token to lists that it may read: all, or those of its own tasks or tags."""
    if caller.grants is None or caller.grants.allows("read", [("runs", None), ("tasks", None)]):
        return
    if filters.tasks:
        for task in filters.tasks:
            caller.require("read", [("tasks", task)])
    elif filters.tags and all(
        caller.grants.allows("read", [("tags", tag)]) for tag in filters.tags
    ):
        return
    else:
        caller.require("read", [("runs", None), ("tasks", None)])


class FilterReader:
    """Reads filters from a query; raises BadRequest for a value that means nothing."""

    def __init__(self, query: QueryDict) -> None:
        self._query = query

    def one(self, name: str, parse: Callable[[str], Any]) -> Any:
        """One value, or None."""
        text = self._query.get(f"filter[{name}]")
        return self._parsed(name, text, parse) if text else None

    def many(self, name: str, parse: Callable[[str], Any]) -> tuple[Any, ...]:
        """Values that are separated by commas."""
        text = self._query.get(f"filter[{name}]") or ""
        words = (word.strip() for word in text.split(","))
        return tuple(self._parsed(name, word, parse) for word in words if word)

    def _parsed(self, name: str, text: str, parse: Callable[[str], Any]) -> Any:
        try:
            return parse(_storable(text))
        except NotFound:
            raise BadRequest(f"filter[{name}] {text!r} is not an id of this kind") from None
        except Invalid as error:
            raise BadRequest(error.message) from None
        except (ValueError, OverflowError) as error:
            raise BadRequest(f"filter[{name}] {text!r} {error}") from None


def _storable(text: str) -> str:
    if not is_storable(text):
        raise ValueError("contains a NUL character")
    return text


def _status(text: str) -> str:
    if text in _LEGACY:
        return str(_LEGACY[text].value)
    if text not in STATUSES:
        raise ValueError(f"is not one of {', '.join(STATUSES)}")
    return text


def _machine(text: str) -> str:
    if text not in MACHINES:
        raise ValueError(f"is not one of {', '.join(MACHINES)}")
    return text


def _flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("is neither true nor false")
    return text == "true"


def moment(text: str) -> datetime:
    """The time that a filter names; raises ValueError."""
    if text.lstrip("-").isdecimal():
        milliseconds = int(text)
        if not 0 <= milliseconds <= _YEAR_3000_MS:
            raise ValueError("is not a time in milliseconds since 1970")
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("is neither an ISO 8601 date nor milliseconds since 1970") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
