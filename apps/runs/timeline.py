"""What moved a run, for its page: not what was only noted about it, which may be thousands."""

from __future__ import annotations

from uuid import UUID

from apps.environments.scope import Scope
from apps.runs.models import RunEvent

_NOTES = ("metadata", "tagged")


def latest_moves(scope: Scope, run_id: UUID, *, most: int) -> list[RunEvent]:
    """The latest moves of a run, in order; nothing for a run of another environment."""
    moves = RunEvent.objects.filter(environment_id=scope.environment_id, run_id=run_id)
    return list(moves.exclude(kind__in=_NOTES).order_by("-position")[:most])[::-1]
