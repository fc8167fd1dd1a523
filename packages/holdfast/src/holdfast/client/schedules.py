"""Schedules: made, changed, switched, back-filled and looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias, TypedDict, TypeVar, Unpack
from urllib.parse import quote

from holdfast import packets
from holdfast._http import AsyncTransport, Call, Flow, SyncTransport
from holdfast.client.results import Result, build, read
from holdfast.client.surface import Group, operation
from holdfast.client.triggers import RunOptions, run_options

Transport = TypeVar("Transport", bound=AsyncTransport | SyncTransport)


class ScheduleOptions(TypedDict, total=False):
    """What a schedule is; exactly one of `cron`, `every` and `at`.

    Attributes:
        cron: Five fields, or six with seconds first.
        every: Seconds between two ticks, or a timedelta.
        at: One time.
        timezone: The IANA zone of the cron; UTC.
        external_id: Yours, such as the id of a user; runs get it in their payload.
        window: Spreads ticks: ``"30m"``, or ``"50%"`` of the time until the next.
        jitter: Random seconds on top.
        overlap: ``allow``, ``skip``, ``queue`` or ``cancel``.
        missed: ``skip``, ``one`` or ``all``.
        missed_limit: For ``missed="all"``, up to 100.
        payload: What its runs find as `ScheduledRun.payload`: anything that a trigger takes, up to
            128 KiB together with the options.
        options: How its runs are executed; what is left out is as the task says.
    """

    cron: str
    every: int | timedelta
    at: datetime
    timezone: str
    external_id: str
    window: str
    jitter: int
    overlap: Literal["allow", "skip", "queue", "cancel"]
    missed: Literal["skip", "one", "all"]
    missed_limit: int
    payload: Any
    options: RunOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Generator(Result):
    """What makes the times: a cron, or ``@every 60s``, or ``@once …``; and the same in words."""

    expression: str
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleInfo(Result):
    """A schedule as the server has it; `next_run_effective_at` is within window and jitter.

    `payload` and `options` are what its runs get, and `problem` is why a run would be refused if
    its time came now; lists leave all three out. Options are as they travel, such as
    ``{"maxAttempts": 2}``.
    """

    id: str
    type: str
    task: str
    active: bool
    generator: Generator
    timezone: str = "UTC"
    deduplication_key: str | None = None
    external_id: str | None = None
    window: str | None = None
    every: int | None = None
    at: datetime | None = None
    jitter: int = 0
    overlap: str = "allow"
    missed: str = "one"
    missed_limit: int = 1
    next_run: datetime | None = None
    next_run_effective_at: datetime | None = None
    latest_run: str | None = None
    latest_run_at: datetime | None = None
    payload: Any = None
    options: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulePlace(Result):
    """Where in a list a page is."""

    current_page: int = 1
    total_pages: int = 1
    count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulePage(Result):
    """One page of schedules, newest first."""

    data: list[ScheduleInfo]
    pagination: SchedulePlace = field(default_factory=SchedulePlace)


@dataclass(frozen=True, slots=True, kw_only=True)
class Upcoming(Result):
    """A time that is to come."""

    schedule: str
    task: str
    timestamp: datetime
    effective_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick(Result):
    """What became of a time; a missed one stands for all up to `until`."""

    timestamp: datetime
    outcome: str
    origin: str = "tick"
    reason: str | None = None
    until: datetime | None = None
    run: str | None = None
    ticked_at: datetime | None = None


Ticks: TypeAlias = list[Tick]
UpcomingTimes: TypeAlias = list[Upcoming]
Names: TypeAlias = list[str]


class Schedules(Group[Transport]):
    """``client.schedules``."""

    @operation
    def create(
        self, task: str, *, deduplication_key: str, **options: Unpack[ScheduleOptions]
    ) -> Flow[ScheduleInfo]:
        """Make a schedule, or change the one that has this key in the environment.

        Args:
            task: The id of a task of the current version.
            deduplication_key: Yours; making one twice makes one.
            **options: See `ScheduleOptions`.

        Raises:
            UnprocessableError: The cron, the zone or the task is wrong, or a trigger with this
                payload and these options would be refused.
        """
        body = {**_wire(task, options), "deduplicationKey": deduplication_key}
        return self._send(_call("POST", "", body))

    @operation
    def update(
        self, schedule_id: str, task: str, **options: Unpack[ScheduleOptions]
    ) -> Flow[ScheduleInfo]:
        """Replace everything that a schedule is but its key; what is left out has its default."""
        return self._send(_call("PUT", _path(schedule_id), _wire(task, options)))

    @operation
    def retrieve(self, schedule_id: str) -> Flow[ScheduleInfo]:
        """One schedule."""
        return self._send(_call("GET", _path(schedule_id)))

    @operation
    def list(
        self,
        *,
        page: int = 1,
        per_page: int = 20,
        task: str | None = None,
        external_id: str | None = None,
    ) -> Flow[SchedulePage]:
        """One page of schedules, newest first."""
        query = {"page": page, "perPage": per_page, "task": task, "externalId": external_id}
        return self._send(Call(method="GET", path=_BASE, query=query, parse=read(SchedulePage)))

    @operation
    def activate(self, schedule_id: str) -> Flow[ScheduleInfo]:
        """Let a schedule tick; what passed meanwhile is not made up for."""
        return self._send(_call("POST", _path(schedule_id, "activate")))

    @operation
    def deactivate(self, schedule_id: str) -> Flow[ScheduleInfo]:
        """Stop a schedule from ticking; its open runs go on."""
        return self._send(_call("POST", _path(schedule_id, "deactivate")))

    @operation
    def delete(self, schedule_id: str) -> Flow[None]:
        """Remove a schedule; its runs stay."""
        return self._send(
            Call(method="DELETE", path=_BASE + _path(schedule_id), parse=lambda _response: None)
        )

    @operation
    def backfill(self, schedule_id: str, since: datetime, until: datetime) -> Flow[Ticks]:
        """Start a run for each time from `since` to `until` that has none, up to 1,000."""
        body = {"from": _text(since), "to": _text(until)}
        return self._send(
            Call(
                method="POST",
                path=_BASE + _path(schedule_id, "backfill"),
                body=body,
                parse=lambda response: build(Ticks, response.json()["data"]),
            )
        )

    @operation
    def ticks(self, schedule_id: str) -> Flow[Ticks]:
        """What became of the latest 100 times, the latest first."""
        return self._send(
            Call(
                method="GET",
                path=_BASE + _path(schedule_id, "ticks"),
                parse=lambda response: build(Ticks, response.json()["data"]),
            )
        )

    @operation
    def upcoming(
        self,
        *,
        schedule_id: str | None = None,
        until: datetime | None = None,
        limit: int = 100,
    ) -> Flow[UpcomingTimes]:
        """The next times of all active schedules, or of one, in order: of a week by default."""
        query = {
            "schedule": schedule_id,
            "to": None if until is None else _text(until),
            "limit": limit,
        }
        return self._send(
            Call(
                method="GET",
                path=f"{_BASE}/upcoming",
                query=query,
                parse=lambda response: build(UpcomingTimes, response.json()["data"]),
            )
        )

    @operation
    def timezones(self) -> Flow[Names]:
        """The names of all time zones."""
        return self._send(
            Call(
                method="GET",
                path="/api/v1/timezones",
                parse=lambda response: build(Names, response.json()["timezones"]),
                auth="none",
            )
        )


_BASE = "/api/v1/schedules"
_RENAMED = {
    "cron": "cron",
    "timezone": "timezone",
    "external_id": "externalId",
    "window": "window",
    "jitter": "jitter",
    "overlap": "overlap",
    "missed": "missed",
    "missed_limit": "missedLimit",
}


def _call(method: str, path: str, body: Any = None) -> Call[ScheduleInfo]:
    return Call(method=method, path=_BASE + path, body=body, parse=read(ScheduleInfo))


def _path(schedule_id: str, *rest: str) -> str:
    return "/" + "/".join(quote(part, safe="") for part in (schedule_id, *rest))


def _wire(task: str, options: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: value for name, value in options.items() if value is not None}
    wire = {_RENAMED[name]: value for name, value in given.items() if name in _RENAMED}
    if (every := given.get("every")) is not None:
        wire["every"] = int(every.total_seconds()) if isinstance(every, timedelta) else every
    if (at := given.get("at")) is not None:
        wire["at"] = _text(at)
    data, kind = packets.encode(given.get("payload"))
    carried = run_options(given.get("options", {}))
    if data is not None:
        wire["payload"], carried["payloadType"] = data, kind
    return {"task": task, **wire, **({"options": carried} if carried else {})}


def _text(moment: datetime) -> str:
    return (moment if moment.tzinfo else moment.astimezone()).isoformat()
