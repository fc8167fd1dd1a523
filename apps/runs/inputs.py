"""What was sent to the inputs of a run, as it is read from outside."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from apps.core.errors import NotFound
from apps.environments.scope import Scope
from apps.orgs.permissions import Permission, require
from apps.runs.models import Input, Run


@dataclass(frozen=True, slots=True, kw_only=True)
class SentItem:
    """An item of an input; `seq` counts them from 0, `part` is its sender's name for it."""

    seq: int
    part: str | None
    data: str | None
    data_type: str
    sent_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    """Items of an input in their order; `is_over` says that no more will come."""

    found: tuple[SentItem, ...]
    is_over: bool


def list_inputs(scope: Scope, run_id: UUID, key: str, *, since: int, most: int) -> Items:
    """The items of a run's input from number `since` on."""
    run = _run(scope, run_id)  # before the items: what it was sent until its end is among them
    items = Input.objects.filter(run_id=run_id, key=key, seq__gte=since).order_by("seq")
    fields = ("seq", "part", "data", "data_type", "sent_at")
    found = tuple(SentItem(**row) for row in items.values(*fields)[:most])
    return Items(found=found, is_over=run.is_final and len(found) < most)


def count_inputs(scope: Scope, run_id: UUID, key: str) -> int:
    """How many items a run's input has."""
    _run(scope, run_id)
    latest = Input.objects.filter(run_id=run_id, key=key).order_by("-seq")
    seq = latest.values_list("seq", flat=True).first()
    return 0 if seq is None else seq + 1


def _run(scope: Scope, run_id: UUID) -> Run:
    require(scope.actor, Permission.RUNS_READ)
    run = Run.objects.within(scope.environment_id).only("status").filter(pk=run_id).first()
    if run is None:
        raise NotFound
    return run
