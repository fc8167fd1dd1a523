"""Schedules as the promoted version declares them."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import F

from apps.core.locks import transaction_lock
from apps.core.transactions import retried
from apps.deployments.models import Promotion
from apps.deployments.queries import schedules_of
from apps.environments.models import Environment
from apps.environments.types import EnvironmentType
from apps.schedules import policy
from apps.schedules.models import Declaration, Schedule
from apps.schedules.operations.manage import ScheduleRequest, begin, change, checked, differs
from apps.schedules.states import ScheduleKind
from holdfast.packets import JSON

BITE = 100


def declare_all(now: datetime) -> int:
    """Bring environments in line whose promoted version is not the one in force; a bite of them."""
    in_force = Promotion.objects.filter(environment__in=Declaration.objects.filter(
        version_id=F("environment__promotion__version_id")
    ).values("environment_id"))  # fmt: skip
    behind = Promotion.objects.exclude(pk__in=in_force.values("pk"))
    found = list(behind.values_list("environment_id", flat=True)[:BITE])
    for environment_id in found:
        declare(environment_id, now=now)
    return len(found)


@retried
def declare(environment_id: UUID, *, now: datetime) -> None:
    """Make, change and remove the declared schedules of an environment as its version says.

    One that is there already keeps its id, its place in its window, and whether it is active.
    """
    transaction_lock(f"schedules:{environment_id}")
    promotion = Promotion.objects.filter(environment_id=environment_id).first()
    if promotion is None:
        return
    wanted = _wanted(environment_id, promotion.version_id)
    mine = Schedule.objects.within(environment_id).filter(kind=ScheduleKind.DECLARATIVE)
    known = {
        schedule.deduplication_key: schedule
        for schedule in mine.select_for_update(no_key=True).order_by("pk")
    }
    mine.exclude(deduplication_key__in=wanted).delete()
    for key, fields in wanted.items():
        schedule = known.get(key)
        if schedule is None:
            _make(environment_id, key, fields, now=now)
        elif differs(schedule, fields):
            change(schedule, fields, now=now)
    Declaration.objects.update_or_create(
        environment_id=environment_id,
        defaults={"version_id": promotion.version_id, "declared_at": now},
    )


def _wanted(environment_id: UUID, version_id: UUID) -> dict[str, dict[str, Any]]:
    kind = Environment.objects.values_list("type", flat=True).get(pk=environment_id)
    slug = EnvironmentType(kind).slug
    return {
        policy.declared_key(task, declared["name"]): checked(_request(task, declared))
        for task, declared in schedules_of(version_id)
        if slug in declared.get("environments", [slug])
    }


def _request(task: str, declared: dict[str, Any]) -> ScheduleRequest:
    return ScheduleRequest(
        task=task,
        cron=declared.get("cron"),
        interval_seconds=declared.get("every"),
        timezone=declared["timezone"],
        window=declared.get("window", ""),
        jitter_seconds=declared["jitter"],
        overlap=declared["overlap"],
        missed=declared["missed"],
        missed_limit=declared["missedLimit"],
        payload=declared.get("payload"),
        payload_type=declared.get("payloadType", JSON),
        options=declared.get("options", {}),
    )


def _make(environment_id: UUID, key: str, fields: dict[str, Any], *, now: datetime) -> None:
    schedule = Schedule(
        environment_id=environment_id,
        kind=ScheduleKind.DECLARATIVE,
        deduplication_key=key,
        phase=policy.phase_of(environment_id, key),
        created_at=now,
        updated_at=now,
        **fields,
    )
    begin(schedule, now=now)
    schedule.save(force_insert=True)
