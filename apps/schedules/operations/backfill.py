"""Runs for times that have passed."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Q

from apps.core import sql
from apps.core.errors import Invalid, NotFound
from apps.core.recurrence import between
from apps.core.transactions import retried
from apps.environments.scope import Scope
from apps.orgs.audit import record
from apps.orgs.permissions import Permission, require
from apps.runs.operations.trigger import trigger_runs
from apps.schedules.carried import request_for
from apps.schedules.limits import limits
from apps.schedules.models import Schedule, Tick
from apps.schedules.states import Origin, Outcome


@retried
def backfill(
    scope: Scope, *, schedule_id: UUID, since: datetime, until: datetime, now: datetime
) -> list[Tick]:
    """Start a run for each time of a range that has none; returns the ticks, oldest first.

    Times that the schedule has yet to tick by itself are left to it. The overlap policy does not
    count here: who asks for a range wants all of it.
    """
    require(scope.actor, Permission.SCHEDULES_WRITE)
    require(scope.actor, Permission.RUNS_TRIGGER)
    mine = Schedule.objects.within(scope.environment_id).select_for_update(no_key=True)
    schedule = mine.filter(pk=schedule_id).first()
    if schedule is None:
        raise NotFound("There is no such schedule in this environment")
    times = _times(schedule, since, until, now=now)
    ticks = _trigger(scope, schedule, times, now=now)
    record(
        scope.organization,
        action="schedule.backfilled",
        target=("schedule", schedule.pk),
        detail={"from": since.isoformat(), "to": until.isoformat(), "runs": len(ticks)},
        now=now,
    )
    return ticks


def _times(
    schedule: Schedule, since: datetime, until: datetime, *, now: datetime
) -> list[datetime]:
    most = limits().backfill_ticks
    end = min(until, now)
    if schedule.next_at is not None:
        end = min(end, schedule.next_at - timedelta(microseconds=1))
    times = between(schedule.recurrence, since=since, until=end, most=most + 1)
    if len(times) > most:
        raise Invalid(
            f"a range may have at most {most} times, this one has more: ask for a part of it",
            detail={"to": ["too many times"]},
        )
    done = Tick.objects.filter(
        Q(outcome=Outcome.TRIGGERED) | Q(at=schedule.held_at),
        schedule_id=schedule.pk, at__gte=since, at__lte=end,
    )  # fmt: skip
    known = {*done.values_list("at", flat=True), schedule.held_at}
    return [at for at in times if at not in known]


def _trigger(
    scope: Scope, schedule: Schedule, times: list[datetime], *, now: datetime
) -> list[Tick]:
    if not times:
        return []
    earlier = [None, *times[:-1]]
    requests = [request_for(schedule, at, b) for at, b in zip(times, earlier, strict=True)]
    told = trigger_runs(scope, requests=requests, now=now)
    Tick.objects.filter(schedule_id=schedule.pk, at__in=times).delete()  # skipped, missed or failed
    ticks = [
        Tick(
            schedule_id=schedule.pk,
            environment_id=schedule.environment_id,
            at=at,
            outcome=Outcome.TRIGGERED,
            origin=Origin.BACKFILL,
            run_id=triggered.run_id,
            ticked_at=now,
        )
        for at, triggered in zip(times, told, strict=True)
    ]
    sql.insert(ticks)
    return ticks
