"""The tick: schedules that are due start their runs, each time at most once, and move on."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any
from uuid import UUID

from apps.core import metrics, sql
from apps.core.errors import DomainError
from apps.core.facts import publish
from apps.core.transactions import retried
from apps.environments.scope import Scope
from apps.orgs.actors import SYSTEM
from apps.runs.operations.cancel import cancel_run
from apps.runs.operations.trigger import Triggered
from apps.runs.operations.trigger_each import trigger_each
from apps.schedules import policy
from apps.schedules.carried import request_for
from apps.schedules.facts import TickFailed
from apps.schedules.limits import limits
from apps.schedules.models import Schedule, Tick
from apps.schedules.policy import Plan
from apps.schedules.states import Outcome, Overlap

BITE = 500
_REST = timedelta(minutes=5)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Surroundings:
    """What bears on a schedule at its tick; the columns of surroundings.sql."""

    organization_id: UUID
    project_id: UUID
    is_archived: bool
    is_deserted: bool
    has_task: bool
    is_open: bool

    @property
    def obstacle(self) -> str | None:
        """Why no run may be started at all."""
        if self.is_archived:
            return "its environment or project is archived"
        if not self.has_task:
            return "the promoted version does not have its task"
        if self.is_deserted:
            return "no worker of its development environment is connected"
        return None


@dataclass(slots=True, kw_only=True)
class _Step:
    """One schedule on its way to its next time."""

    schedule: Schedule
    around: _Surroundings
    plan: Plan
    fires: list[datetime] = field(default_factory=list)
    ticks: list[Tick] = field(default_factory=list)
    held_at: datetime | None = None
    latest_at: datetime | None = None
    latest_run_id: UUID | None = None


def tick_schedules(now: datetime) -> int:
    """Tick a bite of the schedules that are due; returns how many there were."""
    count, canceling = _tick_due(now)
    for schedule_id, around in canceling:
        _tick_after_cancel(schedule_id, around, now=now)
    return count


@retried
def _tick_due(now: datetime) -> tuple[int, list[tuple[UUID, _Surroundings]]]:
    """Tick what is due; returns also those whose open run must be canceled first.

    That takes the locks of a run's whole family, and so a transaction of its own.
    """
    claimed = sql.rows(sql.load("schedules", "claim_due"), {"now": now, "most": BITE})
    schedules = Schedule.objects.in_bulk([row["id"] for row in claimed])
    around = _surroundings(list(schedules))
    canceling = [
        (found, place)
        for found, place in around.items()
        if schedules[found].overlap == Overlap.CANCEL and place.is_open and not place.obstacle
    ]
    apart = {found for found, _ in canceling}
    steps = [
        _step(schedules[found], place, now=now)
        for found, place in around.items()
        if found not in apart
    ]
    _take(steps, now=now)
    return len(claimed), canceling


@retried
def _tick_after_cancel(schedule_id: UUID, around: _Surroundings, *, now: datetime) -> None:
    mine = Schedule.objects.select_for_update(no_key=True, skip_locked=True)
    schedule = mine.filter(pk=schedule_id, due_at__lte=now).first()
    if schedule is None:
        return  # another engine has it, or somebody changed it
    scope = _scope(schedule, around)
    if schedule.latest_run_id:
        reason = "the next time of its schedule has come"
        cancel_run(scope, run_id=schedule.latest_run_id, reason=reason, now=now)
    _take([_step(schedule, _surroundings([schedule_id])[schedule_id], now=now)], now=now)


def _step(schedule: Schedule, around: _Surroundings, *, now: datetime) -> _Step:
    if schedule.next_at is None:
        raise ValueError(f"{schedule} is due without a time")  # the table's constraint forbids it
    plan = _plan(schedule, schedule.next_at, now=now)
    step = _Step(schedule=schedule, around=around, plan=plan, held_at=schedule.held_at)
    if plan.missed:
        first, last = plan.missed
        step.ticks.append(_tick(schedule, first, Outcome.MISSED, "too late", now, until=last))
    if around.obstacle:
        _skip(step, plan.ticks, around.obstacle, now)
    else:
        _choose(step, now)
    return step


def _plan(schedule: Schedule, next_at: datetime, *, now: datetime) -> Plan:
    grace = timedelta(seconds=limits().grace_seconds)
    try:
        return policy.plan(schedule.rule, next_at=next_at, now=now, grace=grace)
    except Exception:
        # Whatever is wrong with it, such as a zone that this machine no longer knows, is not to
        # hold up all others: it is looked at again later.
        log.exception("a schedule cannot be planned", extra={"schedule": str(schedule)})
        return Plan(ticks=(), missed=None, next_at=next_at, due_at=now + _REST)


def _choose(step: _Step, now: datetime) -> None:
    """Which of the times start a run, as the overlap policy says."""
    times = list(step.plan.ticks)
    match Overlap(step.schedule.overlap):
        case Overlap.ALLOW:
            step.fires = times
        case Overlap.CANCEL:
            waiting = [*([step.held_at] if step.held_at and times else []), *times]
            _skip(step, waiting[:-1], "the next time was due as well", now)
            if step.around.is_open and times:  # what was canceled has still to stop
                step.held_at = times[-1]
            else:
                step.fires = times[-1:]
                step.held_at = None if times else step.held_at
        case overlap:
            if times and not step.around.is_open and step.held_at is None:
                step.fires = [times.pop(0)]
            if times and overlap == Overlap.QUEUE and step.held_at is None:
                step.held_at = times.pop(0)
            _skip(step, times, "the latest run has not ended", now)


def _take(steps: Sequence[_Step], *, now: datetime) -> None:
    """Trigger what the steps have chosen, write the ticks down, and move the schedules on."""
    _leave_out_known(steps)
    by_environment = sorted(steps, key=lambda step: step.schedule.environment_id.bytes)
    for _, group in groupby(by_environment, key=lambda step: step.schedule.environment_id):
        _trigger(list(group), now=now)
    ticks = [tick for step in steps for tick in step.ticks]
    sql.insert(ticks)
    _advance(steps, now=now)
    _count(steps, ticks, now=now)


def _leave_out_known(steps: Iterable[_Step]) -> None:
    """A time that has its tick already never gets another, whatever clocks did."""
    times = {(step.schedule.pk, at) for step in steps for at in step.fires}
    times |= {(tick.schedule_id, tick.at) for step in steps for tick in step.ticks}
    ids, moments = {found for found, _ in times}, {at for _, at in times}
    rows = Tick.objects.filter(schedule_id__in=ids, at__in=moments)
    known = set(rows.values_list("schedule_id", "at")) if times else set()
    for step in steps:
        step.fires = [at for at in step.fires if (step.schedule.pk, at) not in known]
        step.ticks = [tick for tick in step.ticks if (tick.schedule_id, tick.at) not in known]


def _trigger(steps: Sequence[_Step], *, now: datetime) -> None:
    """Start the runs of schedules of one environment."""
    asked = [(step, at) for step in steps for at in step.fires]
    if not asked:
        return
    scope = _scope(steps[0].schedule, steps[0].around)
    sound, requests = [], []
    before = {step.schedule.pk: step.schedule.latest_at for step in steps}
    for step, at in asked:
        try:
            requests.append(request_for(step.schedule, at, before[step.schedule.pk]))
        except DomainError as error:
            _note(step, at, error, now)
            continue
        sound.append((step, at))
        before[step.schedule.pk] = at
    told = trigger_each(scope, requests=requests, now=now)
    for (step, at), outcome in zip(sound, told, strict=True):
        _note(step, at, outcome, now)


def _note(step: _Step, at: datetime, outcome: Triggered | DomainError, now: datetime) -> None:
    schedule = step.schedule
    if isinstance(outcome, Triggered):
        tick = _tick(schedule, at, Outcome.TRIGGERED, "", now, run_id=outcome.run_id)
        step.latest_at, step.latest_run_id = at, outcome.run_id
    else:
        tick = _tick(schedule, at, Outcome.FAILED, outcome.message[:1_000], now)
        publish(
            TickFailed(
                schedule_id=schedule.pk,
                environment_id=schedule.environment_id,
                task=schedule.task,
                reason=tick.reason,
                at=at,
            )
        )
    step.ticks.append(tick)


def _advance(steps: Sequence[_Step], *, now: datetime) -> None:
    if not steps:
        return
    is_over = [step.around.is_archived for step in steps]
    sql.execute(
        sql.load("schedules", "advance"),
        {
            "ids": [step.schedule.pk for step in steps],
            "next_at": [
                None if over else s.plan.next_at for s, over in zip(steps, is_over, strict=True)
            ],
            "due_at": [
                None if over else s.plan.due_at for s, over in zip(steps, is_over, strict=True)
            ],
            "held_at": [step.held_at for step in steps],
            "latest_at": [step.latest_at for step in steps],
            "runs": [step.latest_run_id for step in steps],
            "now": now,
        },
    )


def _count(steps: Iterable[_Step], ticks: Iterable[Tick], *, now: datetime) -> None:
    for tick in ticks:
        metrics.schedule_ticks.labels(tick.outcome).inc()
    for step in steps:
        if step.fires:
            late = now - step.schedule.rule.due(step.fires[-1])
            metrics.schedule_lag_seconds.observe(max(0.0, late.total_seconds()))


# -- Ticks that wait ---------------------------------------------------------------------------


@retried
def release_held(now: datetime) -> int:
    """Tick schedules whose tick waited for a run that has ended."""
    rows = sql.rows(sql.load("schedules", "held_due"), {"most": BITE})
    held = list(Schedule.objects.filter(pk__in=[row["id"] for row in rows]))
    places = _surroundings([schedule.pk for schedule in held])
    steps = []
    for schedule in held:
        nothing = Plan(ticks=(), missed=None, next_at=schedule.next_at, due_at=schedule.due_at)
        step = _Step(schedule=schedule, around=places[schedule.pk], plan=nothing)
        if schedule.held_at and step.around.obstacle:
            _skip(step, [schedule.held_at], step.around.obstacle, now)
        elif schedule.held_at:
            step.fires = [schedule.held_at]
        steps.append(step)
    _take(steps, now=now)
    return len(held)


def look(now: datetime) -> dict[str, bool]:
    """Which of the duties here have something to do, by their names."""
    (found,) = sql.rows(sql.load("schedules", "due"), {"now": now})
    return found


# -- Shared ------------------------------------------------------------------------------------


def _surroundings(schedule_ids: Sequence[UUID]) -> Mapping[UUID, _Surroundings]:
    rows = sql.rows(sql.load("schedules", "surroundings"), {"ids": list(schedule_ids)})
    return {row.pop("id"): _Surroundings(**row) for row in rows}


def _scope(schedule: Schedule, around: _Surroundings) -> Scope:
    return Scope(
        actor=SYSTEM,
        organization_id=around.organization_id,
        project_id=around.project_id,
        environment_id=schedule.environment_id,
    )


def _skip(step: _Step, times: Iterable[datetime], reason: str, now: datetime) -> None:
    step.ticks += [_tick(step.schedule, at, Outcome.SKIPPED, reason, now) for at in times]


def _tick(
    schedule: Schedule, at: datetime, outcome: Outcome, reason: str, now: datetime, **more: Any
) -> Tick:
    return Tick(
        schedule_id=schedule.pk,
        environment_id=schedule.environment_id,
        at=at,
        outcome=outcome,
        reason=reason,
        ticked_at=now,
        **more,
    )
