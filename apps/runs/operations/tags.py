"""Add tags to a run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from apps.core.errors import NotFound
from apps.core.facts import publish
from apps.core.transactions import retried
from apps.environments.scope import Scope
from apps.runs import policy
from apps.runs.facts import RunsNoted
from apps.runs.limits import limits
from apps.runs.models import Run, RunEvent, RunTag


@retried
def add_tags(scope: Scope, *, run_id: UUID, tags: Sequence[str], now: datetime) -> Run:
    """Add tags that the run does not have yet; Invalid when it would have too many."""
    locked = Run.objects.select_for_update(no_key=True).within(scope.environment_id)
    run = locked.filter(pk=run_id).first()
    if run is None:
        raise NotFound
    fresh = [tag for tag in dict.fromkeys(tags) if tag not in run.tags]
    policy.check_tags((*run.tags, *fresh), limits())
    run.tags, run.updated_at = [*run.tags, *fresh], now
    run.save(update_fields=["tags", "updated_at"])
    RunTag.objects.bulk_create(
        RunTag(run_id=run.pk, tag=tag, environment_id=run.environment_id) for tag in fresh
    )
    RunEvent.objects.create(
        run_id=run.pk, environment_id=run.environment_id, kind="tagged", status=run.status,
        attempt=run.attempt_count, at=now, detail={"tags": fresh},
    )  # fmt: skip
    publish(RunsNoted(environment_id=run.environment_id))
    return run
