"""The pure decision behind every pool: which workers to start and which to stop.

Its input is what runs need and which workers there are, its output a plan. It asks no database and
no clock, so the same input always gives the same plan, and applying a plan twice changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

_LONGEST_BACKOFF = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How a pool is staffed."""

    max_workers: int  # of the whole pool
    max_per_version: int
    slots: int  # runs at once in one worker, until it says itself
    idle: timedelta  # how long a worker of the current version stays warm
    old_idle: timedelta  # and one of another version
    connect: timedelta  # how long a worker may live without a connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Workers of one version and machine are exchangeable; machine "" takes runs of any."""

    environment_id: UUID
    version_id: UUID
    machine: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What runs ask of one group, and how it has fared."""

    group: Group
    ready: int = 0  # runs that could start now
    is_current: bool = False
    warm_since: datetime | None = None  # promoted, or last busy: what warmth is counted from
    crashes: int = 0  # lately
    crashed_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """An instance that is starting, running or stopping."""

    instance_id: UUID
    group: Group
    is_stopping: bool = False
    held: int = 0  # runs it executes, or keeps suspended in memory
    slots: int | None = None  # what it said itself, once connected
    busy_at: datetime  # when it last had a run, at least when it was created
    silent_since: datetime | None = None  # without a connection since


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Stop this instance, for a reason in words."""

    instance_id: UUID
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do now."""

    starts: Sequence[Group] = ()
    stops: Sequence[Stop] = ()


@dataclass(slots=True)
class _Count:
    need: Need
    workers: list[Worker] = field(default_factory=list)

    @property
    def free(self) -> int:
        return sum(max(0, (worker.slots or 0) - worker.held) for worker in self.workers)


def plan(needs: Iterable[Need], workers: Sequence[Worker], *, rules: Rules, now: datetime) -> Plan:
    """Decide; a group that appears in `workers` alone needs nothing."""
    counts: dict[Group, _Count] = {need.group: _Count(need) for need in needs}
    for worker in workers:
        count = counts.setdefault(worker.group, _Count(Need(group=worker.group)))
        if not worker.is_stopping:
            count.workers.append(worker)
    stops = {
        stop.instance_id: stop
        for count in counts.values()
        for stop in _stops(count, rules=rules, now=now)
    }
    for count in counts.values():
        count.workers = [worker for worker in count.workers if worker.instance_id not in stops]
    wanted = {
        group: number
        for group, count in counts.items()
        if (number := _wanted(count, rules=rules, now=now)) > 0
    }
    room = rules.max_workers - len(workers)
    stops |= _evictions(counts, wanted, room=room, leaving=len(stops) + _stopping(workers))
    return Plan(starts=_share(wanted, counts, room=room), stops=tuple(stops.values()))


def backoff(crashes: int) -> timedelta:
    """How long after its latest crash a group rests: not at all after one, then ever longer."""
    if crashes < 2:
        return timedelta(0)
    return min(timedelta(seconds=2 ** min(crashes - 1, 16)), _LONGEST_BACKOFF)


def _stops(count: _Count, *, rules: Rules, now: datetime) -> list[Stop]:
    limit = rules.idle if count.need.is_current else rules.old_idle
    found = []
    for worker in count.workers:
        if worker.silent_since is not None and now - worker.silent_since >= rules.connect:
            reason = f"It has had no connection for {_seconds(rules.connect)}"
            found.append(Stop(instance_id=worker.instance_id, reason=reason))
        elif _is_idle(worker, count) and now - worker.busy_at >= limit:
            kind = "idle" if count.need.is_current else "idle, and its version is not current"
            reason = f"It was {kind} for {_seconds(limit)}"
            found.append(Stop(instance_id=worker.instance_id, reason=reason))
    return found


def _is_idle(worker: Worker, count: _Count) -> bool:
    return worker.held == 0 and count.need.ready == 0


def _wanted(count: _Count, *, rules: Rules, now: datetime) -> int:
    """How many workers a group lacks: from none at once, then one at a time as they connect."""
    need = count.need
    is_resting = need.crashed_at is not None and now < need.crashed_at + backoff(need.crashes)
    if is_resting or len(count.workers) >= rules.max_per_version:
        return 0
    if not count.workers:
        return _from_none(need, rules=rules, now=now)
    is_connecting = any(worker.slots is None for worker in count.workers)
    return int(need.ready > count.free and not is_connecting)


def _from_none(need: Need, *, rules: Rules, now: datetime) -> int:
    if need.ready > 0:
        # A version that just crashed proves itself with one worker.
        most = 1 if need.crashes else rules.max_per_version
        return min(most, math.ceil(need.ready / rules.slots))
    is_warm = need.warm_since is not None and now < need.warm_since + rules.idle
    return int(need.is_current and is_warm)


def _share(
    wanted: dict[Group, int], counts: dict[Group, _Count], *, room: int
) -> tuple[Group, ...]:
    """Give what room there is one by one, first to those who have least."""
    turns = [
        (len(counts[group].workers) + turn, counts[group].need.ready == 0, str(group), group)
        for group, number in wanted.items()
        for turn in range(number)
    ]
    return tuple(turn[-1] for turn in sorted(turns, key=lambda turn: turn[:3])[: max(0, room)])


def _evictions(
    counts: dict[Group, _Count], wanted: dict[Group, int], *, room: int, leaving: int
) -> dict[UUID, Stop]:
    """In a full pool, idle workers make room for groups that have runs and no worker at all."""
    waiting = [group for group in wanted if counts[group].need.ready and not counts[group].workers]
    short = len(waiting) - max(0, room) - leaving
    idle = [
        worker
        for count in counts.values()
        for worker in count.workers
        if _is_idle(worker, count) and worker.silent_since is None
    ]
    idle.sort(key=lambda worker: worker.busy_at)
    reason = "It was idle, and the pool is full while runs of another version wait"
    return {
        worker.instance_id: Stop(instance_id=worker.instance_id, reason=reason)
        for worker in idle[: max(0, short)]
    }


def _stopping(workers: Sequence[Worker]) -> int:
    return sum(worker.is_stopping for worker in workers)


def _seconds(length: timedelta) -> str:
    return f"{length.total_seconds():g} s"
