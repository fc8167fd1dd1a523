"""Schedules that tasks declare, and the payload that their runs get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar, Generic, Literal, cast

import pydantic
from pydantic.alias_generators import to_camel
from typing_extensions import TypeVar

from holdfast import packets
from holdfast.client.triggers import RunOptions, run_options
from holdfast.packets import Packet

Payload = TypeVar("Payload", default=Any)
Overlap = Literal["allow", "skip", "queue", "cancel"]
Missed = Literal["skip", "one", "all"]

_FIELD_COUNTS = (5, 6)
_LONGEST_NAME = 128
_NO_PAYLOAD = Packet(None, packets.JSON)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When a task runs by itself, as its code declares it; made by `schedule`.

    Attributes:
        cron: Five fields (minute, hour, day, month, weekday), or six with seconds first.
        every: Seconds between two ticks, instead of a cron.
        timezone: The IANA zone of the cron.
        name: Tells several schedules of one task apart.
        window: Spreads ticks of many schedules: ``"30m"``, or ``"50%"`` of the time until the next.
        jitter: Random seconds on top of each tick.
        overlap: What happens while the latest run is open: ``allow`` starts another, ``skip`` none,
            ``queue`` one when it has ended, ``cancel`` another and stops the open one.
        missed: What happens to times that passed while no engine ran: ``skip``, ``one`` (the
            latest), ``all`` (the latest `missed_limit`).
        missed_limit: How many times ``all`` makes up for, up to 100.
        environments: Where it ticks: ``prod``, ``staging``, ``preview``, ``dev``; None: everywhere.
        payload: What its runs find as `ScheduledRun.payload`, encoded.
        options: How its runs are executed, as a trigger's options travel.
    """

    cron: str | None = None
    every: int | None = None
    timezone: str = "UTC"
    name: str = ""
    window: str | None = None
    jitter: int = 0
    overlap: Overlap = "allow"
    missed: Missed = "one"
    missed_limit: int = 1
    environments: tuple[str, ...] | None = None
    payload: Packet = _NO_PAYLOAD
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if (self.cron is None) == (self.every is None):
            raise ValueError("a schedule has either a cron or every=…")
        if self.cron is not None and not (
            self.cron.startswith("@") or len(self.cron.split()) in _FIELD_COUNTS
        ):
            raise ValueError(f"{self.cron!r} is not a cron: it has five fields, or six")
        if self.every is not None and self.every < 1:
            raise ValueError("every must be at least one second")
        if self.jitter < 0 or self.missed_limit < 1:
            raise ValueError("jitter must not be negative, and missed_limit at least 1")
        if len(self.name) > _LONGEST_NAME:
            raise ValueError(f"a schedule's name has at most {_LONGEST_NAME} characters")

    def to_wire(self) -> dict[str, Any]:
        """The JSON form of the manifest; what is not set is left out."""
        optional = {
            "cron": self.cron,
            "every": self.every,
            "window": self.window,
            "environments": None if self.environments is None else list(self.environments),
            "payload": self.payload.data,
            "payloadType": None if self.payload.data is None else self.payload.data_type,
            "options": dict(self.options) or None,
        }
        return {
            "name": self.name,
            "timezone": self.timezone,
            "jitter": self.jitter,
            "overlap": self.overlap,
            "missed": self.missed,
            "missedLimit": self.missed_limit,
        } | {name: value for name, value in optional.items() if value is not None}

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> Schedule:
        """Read the JSON form."""
        environments = wire.get("environments")
        return cls(
            cron=wire.get("cron"),
            every=wire.get("every"),
            timezone=wire.get("timezone") or "UTC",
            name=wire.get("name") or "",
            window=wire.get("window"),
            jitter=wire.get("jitter") or 0,
            overlap=wire.get("overlap") or "allow",
            missed=wire.get("missed") or "one",
            missed_limit=wire.get("missedLimit") or 1,
            environments=None if environments is None else tuple(environments),
            payload=Packet(wire.get("payload"), wire.get("payloadType") or packets.JSON),
            options=wire.get("options") or {},
        )


def schedule(  # noqa: PLR0913 -- a schedule has these parts
    cron: str | None = None,
    *,
    every: int | timedelta | None = None,
    timezone: str = "UTC",
    name: str = "",
    window: str | None = None,
    jitter: int = 0,
    overlap: Overlap = "allow",
    missed: Missed = "one",
    missed_limit: int = 1,
    environments: Sequence[str] | None = None,
    payload: Any = None,
    options: RunOptions | None = None,
) -> Schedule:
    """Say when a task runs by itself: ``@task(schedule=schedule("0 9 * * MON-FRI"))``.

    Args:
        cron: Five fields, or six with seconds first; names, ``L``, ``#``, ``@daily`` and its like.
        every: An interval instead, of at least one second.
        timezone: The IANA zone of the cron, such as ``Europe/Paris``.
        name: Needed when one task has several schedules.
        window: See `Schedule`, as for all further arguments.
        jitter: Seconds.
        overlap: ``allow``, ``skip``, ``queue`` or ``cancel``.
        missed: ``skip``, ``one`` or ``all``.
        missed_limit: For ``missed="all"``.
        environments: Such as ``["prod"]``.
        payload: What its runs find as `ScheduledRun.payload`: anything that a trigger takes, up to
            128 KiB together with the options.
        options: How its runs are executed, such as ``{"tags": ["eu"], "ttl": "1h"}``; see
            `RunOptions`. What is left out is as the task says.

    Raises:
        ValueError: It makes no sense; the server checks the cron and the zone once more.
        TypeError: An option is one that only a trigger has.
        PacketError: The payload holds something that has no form on the wire.
    """
    seconds = int(every.total_seconds()) if isinstance(every, timedelta) else every
    return Schedule(
        cron=cron,
        every=seconds,
        timezone=timezone,
        name=name,
        window=window,
        jitter=jitter,
        overlap=overlap,
        missed=missed,
        missed_limit=missed_limit,
        environments=None if environments is None else tuple(environments),
        payload=packets.encode(payload),
        options=run_options(options) if options else {},
    )


def as_schedules(given: str | Schedule | Sequence[str | Schedule] | None) -> tuple[Schedule, ...]:
    """The schedules of a task, as ``@task(schedule=…)`` takes them.

    Raises:
        ValueError: Several have one name.
    """
    if given is None:
        return ()
    several = [given] if isinstance(given, str | Schedule) else given
    made = tuple(schedule(one) if isinstance(one, str) else one for one in several)
    if len({one.name for one in made}) < len(made):
        raise ValueError("several schedules of one task need a name each")
    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledRun(Generic[Payload]):
    """The payload of a run that a schedule started.

    ``ScheduledRun[Report]`` says what its schedules carry, and has it checked.

    Attributes:
        schedule_id: The schedule.
        timestamp: The nominal time; the run may start later.
        timezone: The schedule's zone.
        last_timestamp: The nominal time of the run before, if there was one.
        external_id: What the schedule's maker knows it by.
        upcoming: The next five nominal times.
        type: ``DECLARATIVE`` or ``IMPERATIVE``.
        payload: What the schedule carries; None when that is nothing.
    """

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = pydantic.ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="ignore"
    )

    schedule_id: str
    timestamp: datetime
    timezone: str = "UTC"
    last_timestamp: datetime | None = None
    external_id: str | None = None
    upcoming: list[datetime] = field(default_factory=list)
    type: str = "IMPERATIVE"
    payload: Payload = cast(Payload, None)  # noqa: RUF009 -- no call at all
