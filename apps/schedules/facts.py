"""What schedules tell."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class TickFailed:
    """A schedule's time came and no run could be started."""

    schedule_id: UUID
    environment_id: UUID
    task: str
    reason: str
    at: datetime
