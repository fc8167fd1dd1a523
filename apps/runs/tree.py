"""A run with all that came of it: its children, theirs, and so on."""

from __future__ import annotations

from uuid import UUID

from apps.core import sql
from apps.core.errors import NotFound
from apps.environments.scope import Scope
from apps.runs.models import Run


def family(scope: Scope, run_id: UUID, *, most: int) -> list[Run]:
    """A run and those below it, oldest first, without their values; raises NotFound."""
    parameters = {"environment": scope.environment_id, "run": run_id, "most": most}
    found = sql.rows(sql.load("runs", "descendants"), parameters)
    if not found:
        raise NotFound
    runs = Run.objects.filter(pk__in=[row["id"] for row in found])
    return list(runs.defer("payload", "output", "metadata").order_by("pk"))
