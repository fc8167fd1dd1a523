"""What the engine does beside its own duties: the one table of the whole system."""

from __future__ import annotations

from apps.core.duties import Duty, Look
from apps.runs.jobs import push_bulk_actions
from apps.runs.operations.bulk import forget_bulk_actions
from apps.schedules.operations.declare import declare_all
from apps.schedules.operations.tick import look, release_held, tick_schedules
from apps.schedules.operations.tidying import forget_ticks

FAST: tuple[Duty, ...] = (tick_schedules, release_held)
SLOW: tuple[Duty, ...] = (declare_all, forget_ticks, push_bulk_actions, forget_bulk_actions)
LOOKS: tuple[Look, ...] = (look,)
