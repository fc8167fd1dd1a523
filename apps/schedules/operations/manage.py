"""Make, change, switch and remove schedules; all of it is written to the audit log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction

from apps.core.errors import Invalid, NotFound
from apps.core.locks import transaction_lock
from apps.core.recurrence import Every, parse_cron, parse_timezone, parse_window
from apps.deployments.queries import task_definition
from apps.environments.scope import Scope
from apps.orgs.audit import record
from apps.orgs.permissions import Permission, require
from apps.schedules import policy
from apps.schedules.carried import check_carried, kept, refusal
from apps.schedules.limits import limits
from apps.schedules.models import Schedule
from apps.schedules.states import Missed, Overlap, ScheduleKind
from holdfast.packets import JSON

_KEY_LENGTH = 255
_LONGEST_INTERVAL = 10 * 365 * 86_400
_LONGEST_JITTER = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRequest:
    """What a schedule is to be: exactly one of cron, interval and once.

    `window` spreads schedules: a duration, or a part of the time until the next tick ("50%").
    `missed_limit` counts only for `missed="all"`. The payload and the options of its runs are
    those of `carried`.
    """

    task: str
    cron: str | None = None
    interval_seconds: int | None = None
    once_at: datetime | None = None
    timezone: str = "UTC"
    window: str = ""
    jitter_seconds: int = 0
    overlap: str = Overlap.ALLOW.value
    missed: str = Missed.ONE.value
    missed_limit: int = 1
    external_id: str | None = None
    payload: str | None = None
    payload_type: str = JSON
    options: Mapping[str, Any] = field(default_factory=dict)


@transaction.atomic
def create_schedule(
    scope: Scope, *, request: ScheduleRequest, deduplication_key: str, now: datetime
) -> Schedule:
    """Make a schedule, or change the one that has this key in this environment."""
    require(scope.actor, Permission.SCHEDULES_WRITE)
    _check_key(deduplication_key)
    fields = checked(request)
    _require_task(scope, request.task)
    transaction_lock(f"schedules:{scope.environment_id}")  # of two with one key, one makes it
    known = _locked(scope).filter(deduplication_key=deduplication_key).first()
    if known is not None:
        return _change(scope, known, fields, now=now)
    _require_room(scope)
    schedule = Schedule(
        environment_id=scope.environment_id,
        kind=ScheduleKind.IMPERATIVE,
        deduplication_key=deduplication_key,
        phase=policy.phase_of(scope.environment_id, deduplication_key),
        created_at=now,
        updated_at=now,
        **fields,
    )
    begin(schedule, now=now)
    _require_accepted(scope, schedule, now=now)
    schedule.save(force_insert=True)
    _record(scope, "schedule.created", schedule, now=now)
    return schedule


@transaction.atomic
def update_schedule(
    scope: Scope, *, schedule_id: UUID, request: ScheduleRequest, now: datetime
) -> Schedule:
    """Change a schedule; one that code declares is changed there."""
    require(scope.actor, Permission.SCHEDULES_WRITE)
    schedule = _mine(scope, schedule_id)
    fields = checked(request)
    _require_task(scope, request.task)
    return _change(scope, schedule, fields, now=now)


@transaction.atomic
def activate_schedule(scope: Scope, *, schedule_id: UUID, now: datetime) -> Schedule:
    """Let a schedule tick; the times that passed meanwhile are not made up for."""
    require(scope.actor, Permission.SCHEDULES_WRITE)
    schedule = _mine(scope, schedule_id)
    if not schedule.is_active:
        schedule.is_active, schedule.updated_at = True, now
        begin(schedule, now=now)
        schedule.save(update_fields=["is_active", "next_at", "due_at", "anchor_at", "updated_at"])
        _record(scope, "schedule.activated", schedule, now=now)
    return schedule


@transaction.atomic
def deactivate_schedule(scope: Scope, *, schedule_id: UUID, now: datetime) -> Schedule:
    """Stop a schedule from ticking until it is activated; its open runs go on."""
    require(scope.actor, Permission.SCHEDULES_WRITE)
    schedule = _mine(scope, schedule_id)
    if schedule.is_active:
        schedule.is_active, schedule.updated_at = False, now
        schedule.next_at = schedule.due_at = schedule.held_at = None
        schedule.save(update_fields=["is_active", "next_at", "due_at", "held_at", "updated_at"])
        _record(scope, "schedule.deactivated", schedule, now=now)
    return schedule


@transaction.atomic
def delete_schedule(scope: Scope, *, schedule_id: UUID, now: datetime) -> None:
    """Remove a schedule; its runs, and what is written of its ticks, stay."""
    require(scope.actor, Permission.SCHEDULES_WRITE)
    schedule = _mine(scope, schedule_id)
    _refuse_declared(schedule)
    _record(scope, "schedule.deleted", schedule, now=now)
    schedule.delete()


def begin(schedule: Schedule, *, now: datetime) -> None:
    """Set what comes next, from now on, and never again what has ticked."""
    if schedule.interval_seconds and schedule.anchor_at is None:
        schedule.anchor_at = now + timedelta(seconds=schedule.interval_seconds)
    after = max(now, schedule.latest_at) if schedule.latest_at else now
    schedule.next_at = schedule.recurrence.after(after) if schedule.is_active else None
    schedule.due_at = schedule.rule.due(schedule.next_at) if schedule.next_at else None


def _change(scope: Scope, schedule: Schedule, fields: dict[str, Any], *, now: datetime) -> Schedule:
    _refuse_declared(schedule)
    if differs(schedule, fields):
        change(schedule, fields, now=now)
        _require_accepted(scope, schedule, now=now)
        _record(scope, "schedule.updated", schedule, now=now)
    return schedule


def differs(schedule: Schedule, fields: dict[str, Any]) -> bool:
    """Whether a schedule is anything else than these fields say."""
    return any(getattr(schedule, name) != value for name, value in fields.items())


def change(schedule: Schedule, fields: dict[str, Any], *, now: datetime) -> None:
    """Set these fields; new times count from now on, a change of anything else moves no tick."""
    was = schedule.rule
    for name, value in fields.items():
        setattr(schedule, name, value)
    if schedule.interval_seconds is None:
        schedule.anchor_at = None
    elif (
        not isinstance(was.recurrence, Every) or was.recurrence.seconds != schedule.interval_seconds
    ):
        schedule.anchor_at = now + timedelta(seconds=schedule.interval_seconds)
    if schedule.rule != was:
        begin(schedule, now=now)
    schedule.updated_at = now
    moved = ["anchor_at", "next_at", "due_at", "updated_at"]
    schedule.save(update_fields=[*fields, *moved])


def checked(request: ScheduleRequest) -> dict[str, Any]:
    """The fields of a request as they are kept; raises Invalid, naming what is wrong."""
    given = [request.cron is not None, request.interval_seconds is not None,
             request.once_at is not None]  # fmt: skip
    if sum(given) != 1:
        raise Invalid(
            "a schedule has exactly one of cron, every and at",
            detail={"cron": ["exactly one of cron, every and at is needed"]},
        )
    _check_bounds(request)
    return {
        "task": request.task,
        "cron": None if request.cron is None else parse_cron(request.cron),
        "interval_seconds": request.interval_seconds,
        "once_at": request.once_at,
        "timezone": parse_timezone(request.timezone),
        "window": parse_window(request.window) if request.window else "",
        "jitter_seconds": request.jitter_seconds,
        "overlap": request.overlap,
        "missed": request.missed,
        "missed_limit": request.missed_limit,
        "external_id": request.external_id,
        **kept(request.payload, request.payload_type, request.options),
    }


def _check_bounds(request: ScheduleRequest) -> None:
    most = limits().missed_ticks
    bounds: tuple[tuple[str, int | None, int, int], ...] = (
        ("every", request.interval_seconds, 1, _LONGEST_INTERVAL),
        ("jitter", request.jitter_seconds, 0, _LONGEST_JITTER),
        ("missedLimit", request.missed_limit, 1, most),
        ("externalId", len(request.external_id or ""), 0, _KEY_LENGTH),
    )
    wrong = {
        name: [f"is from {lowest} to {highest}"]
        for name, number, lowest, highest in bounds
        if number is not None and not lowest <= number <= highest
    }
    if request.overlap not in {member.value for member in Overlap}:
        wrong["overlap"] = [f"is one of {', '.join(Overlap)}"]
    if request.missed not in {member.value for member in Missed}:
        wrong["missed"] = [f"is one of {', '.join(Missed)}"]
    if wrong:
        raise Invalid("; ".join(f"{name} {why[0]}" for name, why in wrong.items()), detail=wrong)


def _check_key(key: str) -> None:
    if key.startswith(policy.DECLARED):
        raise Invalid(
            f"keys that begin with {policy.DECLARED} are those of schedules in code",
            detail={"deduplicationKey": ["reserved"]},
        )
    if not 0 < len(key) <= _KEY_LENGTH:
        raise Invalid(
            f"deduplicationKey has 1 to {_KEY_LENGTH} characters, this one has {len(key)}",
            detail={"deduplicationKey": ["bad length"]},
        )


def _require_task(scope: Scope, task: str) -> None:
    if task_definition(scope.environment_id, task) is None:
        raise Invalid(
            f"the current version of this environment has no task {task!r}",
            detail={"task": ["unknown task"]},
        )


def _require_accepted(scope: Scope, schedule: Schedule, *, now: datetime) -> None:
    """A run of its next time is looked at as a trigger of now: what is wrong is said at once."""
    check_carried(schedule)
    error = refusal(scope, schedule, now=now)
    if error is not None:
        raise error


def _require_room(scope: Scope) -> None:
    most = limits().per_environment
    if Schedule.objects.within(scope.environment_id).count() >= most:
        raise Invalid(
            f"an environment may have {most} schedules", detail={"schedules": ["too many"]}
        )


def _locked(scope: Scope) -> Any:
    return Schedule.objects.within(scope.environment_id).select_for_update(no_key=True)


def _mine(scope: Scope, schedule_id: UUID) -> Schedule:
    found: Schedule | None = _locked(scope).filter(pk=schedule_id).first()
    if found is None:
        raise NotFound("There is no such schedule in this environment")
    return found


def _refuse_declared(schedule: Schedule) -> None:
    if schedule.kind == ScheduleKind.DECLARATIVE:
        raise Invalid(
            "this schedule is declared in code: change it there, or deactivate it here",
            detail={"type": ["DECLARATIVE"]},
        )


def _record(scope: Scope, action: str, schedule: Schedule, *, now: datetime) -> None:
    record(
        scope.organization,
        action=action,
        target=("schedule", schedule.pk),
        detail={"task": schedule.task, "deduplicationKey": schedule.deduplication_key},
        now=now,
    )
