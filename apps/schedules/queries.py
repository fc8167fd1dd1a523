"""What is seen of schedules: themselves, what comes, and what became of their times."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Q, QuerySet

from apps.core import sql
from apps.core.errors import NotFound
from apps.core.paging import CursorPage, Page, paged
from apps.core.recurrence import occurrences
from apps.deployments.queries import task_definition
from apps.environments.scope import Scope
from apps.orgs.permissions import Permission, require
from apps.schedules.carried import refusal
from apps.schedules.models import Schedule, ScheduleQuerySet, Tick

_MOST_UPCOMING = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Upcoming:
    """A time of a schedule that is to come; `due_at` is `at`, moved within window and jitter."""

    schedule: Schedule
    at: datetime
    due_at: datetime


def get_schedule(scope: Scope, schedule_id: UUID) -> Schedule:
    """One schedule; NotFound."""
    found = _schedules(scope).filter(pk=schedule_id).first()
    if found is None:
        raise NotFound("There is no such schedule in this environment")
    return found


def problem_of(scope: Scope, schedule: Schedule, *, now: datetime) -> str | None:
    """Why a run would be refused if the schedule's next time came now, in words."""
    if task_definition(scope.environment_id, schedule.task) is None:
        return f"The current version of this environment has no task {schedule.task}."
    error = refusal(scope, schedule, now=now)
    return error.message if error else None


def schedule_of_run(scope: Scope, schedule_id: UUID | None) -> Schedule | None:
    """The schedule that started a run, as far as it is there still; for whoever sees the run."""
    if schedule_id is None:
        return None
    return Schedule.objects.within(scope.environment_id).filter(pk=schedule_id).first()


def list_schedules(
    scope: Scope, *, task: str | None = None, external_id: str | None = None
) -> QuerySet[Schedule]:
    """The schedules of the environment, newest first; sliced by who shows them."""
    found = _schedules(scope)
    if task is not None:
        found = found.filter(task=task)
    if external_id is not None:
        found = found.filter(external_id=external_id)
    return found.defer("payload", "options").order_by("-id")


def schedules_page(
    scope: Scope, page: CursorPage, *, text: str = "", is_active: bool | None = None
) -> Page[Schedule]:
    """One page of the schedules; `text` is a part of the task's or the external id."""
    tried = Q()
    if text:
        tried &= Q(task__icontains=text) | Q(external_id__icontains=text)
    if is_active is not None:
        tried &= Q(is_active=is_active)
    return paged(_schedules(scope).defer("payload", "options"), page, tried=tried)


def list_ticks(scope: Scope, schedule_id: UUID, *, most: int = 100) -> list[Tick]:
    """What became of the latest times of a schedule, the latest first."""
    get_schedule(scope, schedule_id)
    ticks = Tick.objects.filter(schedule_id=schedule_id, environment_id=scope.environment_id)
    return list(ticks.order_by("-at")[:most])


def upcoming(
    scope: Scope,
    *,
    since: datetime,
    until: datetime,
    most: int,
    schedule_id: UUID | None = None,
) -> list[Upcoming]:
    """The next times of the active schedules of an environment, or of one, in order.

    From `since`, which is now or later, to `until`, both included.
    """
    found = _schedules(scope).active().filter(next_at__lte=until)
    if schedule_id is not None:
        found = found.filter(pk=schedule_id)
    each = [_times(schedule, since, until) for schedule in found.order_by("next_at")[:most]]
    ordered = heapq.merge(*each, key=lambda time: (time.at, time.schedule.pk))
    wanted = min(most, _MOST_UPCOMING)
    return [time for _, time in zip(range(wanted), ordered, strict=False)]


def _times(schedule: Schedule, since: datetime, until: datetime) -> Iterator[Upcoming]:
    if schedule.next_at is None:
        return
    start = max(since, schedule.next_at) - timedelta(microseconds=1)
    for at in occurrences(schedule.recurrence, start):
        if at > until:
            return
        yield Upcoming(schedule=schedule, at=at, due_at=schedule.rule.due(at))


def invariant_violations(*, now: datetime) -> list[str]:
    """What must never be; each sentence names the rule and how often."""
    rows = sql.rows(sql.load("schedules", "invariants"), {"now": now})
    return [f"{row['rule']}: {row['violations']}" for row in rows if row["violations"]]


def _schedules(scope: Scope) -> ScheduleQuerySet:
    require(scope.actor, Permission.SCHEDULES_READ)
    return Schedule.objects.within(scope.environment_id).select_related("environment__owner")
