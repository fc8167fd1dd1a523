"""What a version says about a task: read on every trigger, so kept in the process.

A definition never changes, because its version never does; only the answer to "which version is
current" is asked again each time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

from apps.core import sql
from apps.core.errors import Invalid
from apps.deployments.models import Task, Version


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskDefinition:
    """A task as one version has it."""

    version_id: UUID
    version_number: str
    slug: str
    queue_name: str
    retry: dict[str, Any]
    machine: str
    max_duration_seconds: int | None
    ttl_seconds: int | None
    payload_schema: dict[str, Any] | None
    overlap: str = "allow"
    collect: dict[str, Any] | None = None

    @property
    def max_attempts(self) -> int | None:
        found: int | None = self.retry.get("maxAttempts")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRef:
    """A version's two names."""

    id: UUID
    number: str


def current_version(environment_id: UUID) -> VersionRef | None:
    """The version that new runs of this environment get."""
    rows = sql.rows(sql.load("deployments", "current_version"), {"environment": environment_id})
    return VersionRef(id=rows[0]["id"], number=rows[0]["number"]) if rows else None


def version_by_number(environment_id: UUID, number: str) -> VersionRef:
    """The version of this environment with this number; raises Invalid."""
    found = Version.objects.filter(environment_id=environment_id, number=number).values_list("id")
    for (identifier,) in found:
        return VersionRef(id=identifier, number=number)
    raise Invalid(
        f"there is no version {number!r} in this environment",
        detail={"version": ["unknown version"]},
    )


def definition(version: VersionRef, slug: str) -> TaskDefinition | None:
    """What this version says about a task, or None when it has no such task."""
    try:
        return _definition(version.id, version.number, slug)
    except Task.DoesNotExist:
        return None


@lru_cache(maxsize=10_000)
def _definition(version_id: UUID, number: str, slug: str) -> TaskDefinition:
    # absence raises, and so is never cached: names come from callers and would crowd the cache
    task = Task.objects.get(version_id=version_id, slug=slug)
    return TaskDefinition(
        version_id=version_id,
        version_number=number,
        slug=slug,
        queue_name=task.queue_name,
        retry=task.retry,
        machine=task.machine,
        max_duration_seconds=task.max_duration_seconds,
        ttl_seconds=task.ttl_seconds,
        payload_schema=task.payload_schema,
        overlap=task.overlap,
        collect=task.collect,
    )
