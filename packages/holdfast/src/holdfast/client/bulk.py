"""Bulk actions: many runs canceled or replayed, by a filter or by their ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeVar, Unpack
from urllib.parse import quote

from holdfast._http import AsyncTransport, Call, Flow, SyncTransport
from holdfast.client.results import Page, Result, read, read_page
from holdfast.client.runs import RunFilters
from holdfast.client.surface import Group, operation, paged

Transport = TypeVar("Transport", bound=AsyncTransport | SyncTransport)
Kind = Literal["cancel", "replay"]

_PATH = "/api/v1/bulk-actions"
_RENAMED = {
    "task": "taskIdentifier",
    "is_test": "isTest",
    "bulk_action": "bulkAction",
    "created_from": "from",
    "created_to": "to",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkCounts(Result):
    """How far a bulk action is; `total` is 0 until it has begun."""

    total: int = 0
    success: int = 0
    failure: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkAction(Result):
    """A bulk action: ``PENDING``, ``COMPLETED`` or ``ABORTED``."""

    id: str
    type: str
    status: str
    name: str | None = None
    counts: BulkCounts = field(default_factory=BulkCounts)
    created_at: datetime | None = None
    completed_at: datetime | None = None

    @property
    def is_final(self) -> bool:
        """Whether nothing will change any more."""
        return self.status != "PENDING"


class BulkActions(Group[Transport]):
    """``client.bulk``."""

    @operation
    def cancel(
        self, *, runs: Sequence[str] = (), name: str | None = None, **filters: Unpack[RunFilters]
    ) -> Flow[str]:
        """Stop many runs, those of a filter or those that are named, up to 500.

        Args:
            runs: Ids of runs, instead of a filter.
            name: For people.
            **filters: As of `Runs.list`; they reach back seven days unless they name a time.

        Returns:
            The id of the bulk action, which goes on by itself.
        """
        return self._start("cancel", runs, name, filters)

    @operation
    def replay(
        self, *, runs: Sequence[str] = (), name: str | None = None, **filters: Unpack[RunFilters]
    ) -> Flow[str]:
        """Start many runs again, as `cancel` chooses them; returns the bulk action's id."""
        return self._start("replay", runs, name, filters)

    @operation
    def retrieve(self, bulk_action_id: str) -> Flow[BulkAction]:
        """How far a bulk action is."""
        return self._send(Call(method="GET", path=_path(bulk_action_id), parse=read(BulkAction)))

    @operation
    def abort(self, bulk_action_id: str) -> Flow[None]:
        """Let no further run be acted on."""
        return self._send(
            Call(method="POST", path=_path(bulk_action_id, "abort"), parse=lambda _response: None)
        )

    @paged
    def list(self, *, size: int | None = None, after: str | None = None) -> Call[Page[BulkAction]]:
        """Bulk actions, newest first."""
        query = {"page[size]": size, "page[after]": after}
        return Call(method="GET", path=_PATH, query=query, parse=read_page(BulkAction))

    def _start(
        self, kind: Kind, runs: Sequence[str], name: str | None, filters: RunFilters
    ) -> Flow[str]:
        body: dict[str, Any] = {"action": kind}
        if runs:
            body["runIds"] = list(runs)
        if chosen := {_RENAMED.get(n, n): _text(value) for n, value in filters.items()}:
            body["filter"] = chosen
        if name:
            body["name"] = name
        return self._send(
            Call(method="POST", path=_PATH, body=body, parse=lambda r: str(r.json()["id"]))
        )


def _path(bulk_action_id: str, *rest: str) -> str:
    return "/".join([_PATH, *(quote(part, safe="") for part in (bulk_action_id, *rest))])


def _text(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return list(value) if isinstance(value, tuple) else value
