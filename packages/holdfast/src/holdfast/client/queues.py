"""Queues: looked at, paused and resumed, their limits overridden and reset."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import quote

from holdfast._http import AsyncTransport, Call, Flow, SyncTransport
from holdfast.client.results import Result, read
from holdfast.client.surface import Group, operation

Transport = TypeVar("Transport", bound=AsyncTransport | SyncTransport)

_TASK = "task/"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLimit(Result):
    """A limit: what holds now, what the code says, and what somebody overrode it with."""

    current: int | None = None
    base: int | None = None
    override: int | None = None
    overridden_at: datetime | None = None
    overridden_by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRate(Result):
    """So many starts per `period` seconds; without a burst counted in windows."""

    limit: int
    period: float
    burst: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueInfo(Result):
    """A queue as it stands.

    Attributes:
        id: Its id, ``queue_…``.
        name: Its name; that of its task, if it is a task's own.
        type: ``task`` or ``custom``.
        running: How many runs hold a place in it.
        queued: How many wait, counted up to 10,000.
        paused: Whether it starts nothing.
        concurrency_limit: Runs at once, of each concurrency key.
        concurrency: The same with where it comes from.
        total_limit: Runs at once over all keys.
        rate: How many may start in how long.
        key_rate: How many of each key may.
        max_queued: How many may wait.
        weight: Its share beside other queues.
        held_until: When its rate lets the next run start.
    """

    id: str
    name: str
    type: str
    running: int
    queued: int
    paused: bool
    concurrency_limit: int | None = None
    concurrency: QueueLimit = field(default_factory=QueueLimit)
    total_limit: int | None = None
    rate: QueueRate | None = None
    key_rate: QueueRate | None = None
    max_queued: int | None = None
    weight: float = 1.0
    held_until: datetime | None = None

    @property
    def full_name(self) -> str:
        """The name that triggers know it by: ``task/<id>`` for a task's own."""
        return f"{_TASK}{self.name}" if self.type == "task" else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyBound(Result):
    """The bound of one key: the queue's own, or an override that ends at `expires_at`."""

    current: int | None = None
    base: int | None = None
    override: int | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLimit(Result):
    """One concurrency key of a queue: its bound, and how many of its runs hold a place."""

    name: str
    concurrency_key: str
    per_key: KeyBound
    running: int = 0
    paused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuePlace(Result):
    """Where in a list a page is."""

    current_page: int = 1
    total_pages: int = 1
    count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuePage(Result):
    """One page of queues, by name."""

    data: list[QueueInfo]
    pagination: QueuePlace = field(default_factory=QueuePlace)


class Queues(Group[Transport]):
    """``client.queues``; a queue is named by its name, ``task/<id>`` for a task's own."""

    @operation
    def list(self, *, page: int = 1, per_page: int = 100) -> Flow[QueuePage]:
        """Queues by name, 100 a page at most."""
        return self._send(
            Call(
                method="GET",
                path="/api/v1/queues",
                query={"page": page, "perPage": per_page},
                parse=read(QueuePage),
            )
        )

    @operation
    def retrieve(self, name: str) -> Flow[QueueInfo]:
        """One queue.

        Raises:
            NotFoundError: There is no such queue in the environment.
        """
        path, kind = _path(name)
        return self._send(
            Call(method="GET", path=path, query={"type": kind}, parse=read(QueueInfo))
        )

    @operation
    def pause(self, name: str) -> Flow[QueueInfo]:
        """Start no more of its runs; those that execute go on."""
        return self._change(name, "/pause", {"action": "pause"})

    @operation
    def resume(self, name: str) -> Flow[QueueInfo]:
        """Let its runs start again."""
        return self._change(name, "/pause", {"action": "resume"})

    @operation
    def override(
        self,
        name: str,
        concurrency_limit: int | None = None,
        *,
        total_limit: int | None = None,
        percent: float | None = None,
    ) -> Flow[QueueInfo]:
        """Put other limits in the place of those in code; deploys leave them alone.

        Args:
            name: The queue's name.
            concurrency_limit: Runs at once of each concurrency key; 0 starts nothing.
            total_limit: Runs at once over all keys.
            percent: The concurrency limit as a share of the environment's.

        Raises:
            UnprocessableError: No limit was named.
        """
        asked = {
            "concurrencyLimit": concurrency_limit, "totalLimit": total_limit, "percent": percent,
        }  # fmt: skip
        body = {key: value for key, value in asked.items() if value is not None}
        return self._change(name, "/concurrency/override", body)

    @operation
    def reset(self, name: str) -> Flow[QueueInfo]:
        """Let the limits in code count again."""
        return self._change(name, "/concurrency/reset", {})

    @operation
    def override_key(
        self, name: str, key: str, concurrency_limit: int, *, ttl: str | None = None
    ) -> Flow[KeyLimit]:
        """Put another limit on one concurrency key of a queue, for a while.

        Args:
            name: The queue's name, ``task/<id>`` for a task's own.
            key: The concurrency key.
            concurrency_limit: Runs of the key at once; 0 starts nothing.
            ttl: How long it counts, such as ``12h``; 7 days when None.
        """
        body = {"concurrencyKey": key, "perKey": concurrency_limit, "ttl": ttl}
        return self._limit(name, "/override", body)

    @operation
    def reset_key(self, name: str, key: str) -> Flow[KeyLimit]:
        """Let the queue's limit count for a concurrency key again."""
        return self._limit(name, "/reset", {"concurrencyKey": key})

    def _limit(self, name: str, what: str, body: dict[str, Any]) -> Flow[KeyLimit]:
        path = f"/api/v1/concurrency-limits/{quote(name, safe='')}{what}"
        return self._send(Call(method="POST", path=path, body=body, parse=read(KeyLimit)))

    def _change(self, name: str, what: str, body: dict[str, Any]) -> Flow[QueueInfo]:
        path, kind = _path(name)
        return self._send(
            Call(
                method="POST",
                path=path + what,
                body={"type": kind, **body},
                parse=read(QueueInfo),
            )
        )


def _path(name: str) -> tuple[str, str]:
    """The path, and what it names; a slash in a name is encoded twice, as the contract wants it."""
    if name.startswith("queue_"):
        kind, value = "id", name
    elif name.startswith(_TASK):
        kind, value = "task", name.removeprefix(_TASK)
    else:
        kind, value = "custom", name
    return f"/api/v1/queues/{quote(value.replace('/', '%2F'), safe='')}", kind
