"""Trigger a run again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from apps.core.errors import Invalid, NotFound
from apps.environments.scope import Scope
from apps.runs.models import Run
from apps.runs.operations.trigger import Triggered, TriggerRequest, trigger_run

_OVERRIDABLE = frozenset(field.name for field in fields(TriggerRequest)) - {
    "task", "parent_run_id", "resume_parent", "batch_id", "batch_index", "replay_of_id",
}  # fmt: skip


def replay_run(
    scope: Scope, *, run_id: UUID, overrides: Mapping[str, Any], now: datetime
) -> Triggered:
    """A new run of the same task with the same payload, on the current version.

    `overrides` replaces fields of the TriggerRequest, such as payload, tags or machine.
    """
    run = Run.objects.within(scope.environment_id).filter(pk=run_id).first()
    if run is None:
        raise NotFound
    if unknown := set(overrides) - _OVERRIDABLE:
        raise Invalid(f"a replay cannot change {', '.join(sorted(unknown))}")
    original = TriggerRequest(
        task=run.task,
        payload=run.payload,
        payload_type=run.payload_type,
        queue=run.queue,
        concurrency_key=run.concurrency_key,
        tags=tuple(run.tags),
        metadata=None,
        machine=run.machine,
        max_attempts=run.max_attempts,
        max_duration_seconds=run.max_duration_seconds,
        priority_seconds=run.priority_seconds,
        is_test=run.is_test,
        source="replay",
        replay_of_id=run.pk,
    )
    return trigger_run(scope, request=replace(original, **overrides), now=now)
