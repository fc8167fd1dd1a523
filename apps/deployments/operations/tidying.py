"""Tidying: what builds and workers leave behind is bounded, on disk and in the database."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import QuerySet

from apps.deployments.models import Instance, Pool, WorkerSession
from apps.deployments.providing import process_provider, workspace

UNUSED = timedelta(days=7)
HISTORY = timedelta(days=30)
_BATCH = 1_000


def tidy_machine() -> list[str]:
    """Remove unpacked versions and environments that this machine has not used for a week."""
    keep: set[str] = set()
    for name in Pool.objects.filter(provider="process").values_list("name", flat=True):
        keep |= process_provider(name).in_use()
    return workspace().prune(keep=keep, unused_seconds=UNUSED.total_seconds())


def prune_history(*, now: datetime) -> int:
    """Forget workers that ended a month ago, in batches that each commit."""
    before = now - HISTORY
    instances = Instance.objects.filter(stopped_at__lt=before)
    sessions = WorkerSession.objects.filter(disconnected_at__lt=before)
    return _delete(instances) + _delete(sessions)


def _delete(rows: QuerySet[Instance] | QuerySet[WorkerSession]) -> int:
    removed = 0
    while ids := list(rows.order_by("id").values_list("id", flat=True)[:_BATCH]):
        removed += rows.filter(id__in=ids).delete()[0]
    return removed
