"""What is forgotten of schedules, and when."""

from __future__ import annotations

from datetime import datetime, timedelta

from apps.core.transactions import retried
from apps.schedules.limits import limits
from apps.schedules.models import Tick

BITE = 500


@retried
def forget_ticks(now: datetime) -> int:
    """Remove a bite of old ticks; their runs stay."""
    old = Tick.objects.filter(ticked_at__lt=now - timedelta(days=limits().tick_days))
    keys = list(
        old.order_by("ticked_at")
        .select_for_update(skip_locked=True)
        .values_list("pk", flat=True)[:BITE]
    )
    Tick.objects.filter(pk__in=keys).delete()
    return len(keys)
