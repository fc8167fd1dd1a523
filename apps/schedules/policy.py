"""Pure decisions: when a time is due, and what of the past still counts. No database, no clock."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from apps.core.ids import public_id
from apps.core.recurrence import LONGEST_WINDOW, Recurrence, latest, occurrences, window_length
from apps.schedules.states import Missed
from holdfast.packets import JSON, SUPERJSON, TEXT

TICKS_AT_ONCE = 100
UPCOMING_IN_PAYLOAD = 5
PREFIX = "sched"
DECLARED = "declared/"
_PHASES = 2**31


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Everything about a schedule that says when it ticks.

    `phase`, from 0 to 1, places it within its window, always at the same place; `seed` is what the
    jitter of a time is derived from, so that asking again gives the same time.
    """

    recurrence: Recurrence
    seed: UUID
    phase: float = 0.0
    window: str = ""
    jitter_seconds: int = 0
    missed: Missed = Missed.ONE
    missed_limit: int = 1

    def due(self, nominal: datetime) -> datetime:
        """When a nominal time is due: within its window and jitter, before the next one."""
        if not self.window and not self.jitter_seconds:
            return nominal
        following = self.recurrence.after(nominal)
        gap = following - nominal if following else LONGEST_WINDOW
        shift = self.phase * window_length(self.window, gap) + timedelta(
            seconds=_chance(self.seed, nominal) * self.jitter_seconds
        )
        return nominal + min(shift, gap - min(gap, timedelta(milliseconds=1)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a schedule does now: the times that tick, those that were missed, and what comes next.

    `missed` are the first and the last of the times that do not tick any more.
    """

    ticks: tuple[datetime, ...]
    missed: tuple[datetime, datetime] | None
    next_at: datetime | None
    due_at: datetime | None


def plan(rule: Rule, *, next_at: datetime, now: datetime, grace: timedelta) -> Plan:
    """What is to be done with the times from `next_at` that are due at `now`.

    One that is late by no more than `grace` simply ticks; of those that are later, as many of the
    latest as the rule wants.
    """
    punctual_from = now - grace
    wanted = {Missed.SKIP: 0, Missed.ONE: 1, Missed.ALL: rule.missed_limit}[rule.missed]
    late: list[datetime] = []
    end: datetime | None = None
    if rule.due(next_at) < punctual_from:
        # one more than wanted and one that may be due only now, so that the last late one is found
        looked = latest(rule.recurrence, since=next_at, until=punctual_from, most=wanted + 2)
        passed = [at for at in looked if rule.due(at) < punctual_from] or [next_at]
        late = passed[len(passed) - wanted :] if wanted else []
        end = passed[-1]
    punctual = occurrences(rule.recurrence, end) if end else _from(rule.recurrence, next_at)
    due = itertools.takewhile(lambda at: rule.due(at) <= now, punctual)
    ticks = [*late, *itertools.islice(due, TICKS_AT_ONCE - len(late))]
    seen = max([*ticks, *([end] if end else [])], default=None)
    upcoming = next_at if seen is None else rule.recurrence.after(seen)
    return Plan(
        ticks=tuple(ticks),
        missed=_given_up(rule, next_at, end, late),
        next_at=upcoming,
        due_at=rule.due(upcoming) if upcoming else None,
    )


def _from(recurrence: Recurrence, first: datetime) -> Iterator[datetime]:
    """The times from one on that was promised, even if a zone's rules have changed since."""
    yield first
    yield from occurrences(recurrence, first)


def _given_up(
    rule: Rule, since: datetime, until: datetime | None, late: list[datetime]
) -> tuple[datetime, datetime] | None:
    """The first and the last time from `since` to `until` that are too late and not made up for."""
    if until is None or (late and late[0] <= since):
        return None
    if not late:
        return since, until
    before = latest(rule.recurrence, since=since, until=late[0] - timedelta(microseconds=1), most=1)
    return (since, before[-1]) if before else None


def declared_key(task: str, name: str) -> str:
    """The key of a schedule that the code of a task declares."""
    return f"{DECLARED}{task}/{name}" if name else f"{DECLARED}{task}"


def phase_of(environment_id: UUID, key: str) -> int:
    """A schedule's place in its window, of 2**31: the same for ever, evenly spread over many."""
    digest = hashlib.sha256(environment_id.bytes + key.encode()).digest()
    return int.from_bytes(digest[:4]) % _PHASES


def as_fraction(phase: int) -> float:
    """A kept phase as a number from 0 to 1."""
    return phase / _PHASES


def _chance(seed: UUID, nominal: datetime) -> float:
    """A number from 0 to 1 that looks random and is the same for the same time."""
    text = f"{seed}{nominal.astimezone(UTC).isoformat()}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8]) / 2**64


# -- Payload -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What the payload of a schedule's run tells of the schedule."""

    id: UUID
    kind: str
    timezone: str
    external_id: str | None
    recurrence: Recurrence
    payload: str | None = None
    payload_type: str = JSON


def payload(schedule: Described, *, at: datetime, latest_at: datetime | None) -> str:
    """The payload of the run for one nominal time, as superjson: its dates arrive as dates.

    What the schedule carries lies in it under `payload`, with its own annotations; raises
    ValueError when that is not what its type says.
    """
    upcoming = list(itertools.islice(occurrences(schedule.recurrence, at), UPCOMING_IN_PAYLOAD))
    body: dict[str, Any] = {
        "scheduleId": public_id(PREFIX, schedule.id),
        "type": schedule.kind.upper(),
        "timestamp": _iso(at),
        "timezone": schedule.timezone,
        "upcoming": [_iso(moment) for moment in upcoming],
    }
    dates = ["timestamp", *(f"upcoming.{index}" for index in range(len(upcoming)))]
    if latest_at is not None:
        body["lastTimestamp"] = _iso(latest_at)
        dates.append("lastTimestamp")
    if schedule.external_id is not None:
        body["externalId"] = schedule.external_id
    meta: dict[str, Any] = {"values": {path: ["Date"] for path in dates}}
    if schedule.payload is not None:
        body["payload"], carried = _carried(schedule.payload, schedule.payload_type)
        meta["values"] |= carried.pop("values")
        meta |= carried
    return json.dumps({"json": body, "meta": meta}, separators=(",", ":"))


def _carried(packet: str, kind: str) -> tuple[Any, dict[str, Any]]:
    """The value in a packet, and its annotations as those of a part of a greater value."""
    if kind == TEXT:
        return packet, {"values": {}}
    value = json.loads(packet)
    if kind != SUPERJSON:
        return value, {"values": {}}
    meta = value.get("meta") or {}
    values, rest = meta.get("values") or {}, {key: meta[key] for key in ("v",) if key in meta}
    if isinstance(values, list):  # the whole value is annotated
        return value["json"], {"values": {"payload": values}, **rest}
    return value["json"], {
        "values": {f"payload.{path}": tree for path, tree in values.items()}, **rest
    }  # fmt: skip


def _iso(moment: datetime) -> str:
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
