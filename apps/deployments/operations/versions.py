"""Versions: registered from a manifest, promoted to be the one that new runs get."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from apps.core.errors import NotFound
from apps.core.facts import publish
from apps.core.locks import transaction_lock
from apps.deployments import policy
from apps.deployments.facts import QueuesChanged, VersionPromoted
from apps.deployments.manifest import Manifest, TaskPart, parse_manifest
from apps.deployments.models import Promotion, Queue, QueueType, Task, Version
from apps.environments.models import Environment
from apps.environments.scope import Scope
from apps.environments.types import EnvironmentType
from apps.orgs.audit import record
from apps.orgs.permissions import Permission, require

_FLOW = [
    "concurrency_limit", "total_limit", "rate", "key_rate", "max_queued", "weight", "key_weights",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """What a deployed version runs from; a development version runs from its developer's files."""

    archive: str = ""
    archive_sha256: str = ""
    lock_hash: str = ""
    python_version: str = ""


@transaction.atomic
def register_version(
    scope: Scope, *, manifest: Mapping[str, Any], now: datetime, build: Build | None = None
) -> Version:
    """Make a version of what a manifest declares; in development it is current at once.

    Raises Invalid that names everything wrong with the manifest. The same build registered again
    in development is the same version, so that its runs find their worker after a restart.
    """
    require(scope.actor, Permission.DEPLOYMENTS_WRITE)
    parsed = parse_manifest(manifest)
    environment = Environment.objects.within(scope).get()
    transaction_lock(f"versions:{environment.id}")
    is_development = environment.type == EnvironmentType.DEVELOPMENT
    if is_development and (same := _current_if_same(environment.id, parsed)):
        return same
    version = _create(environment.id, parsed, build or Build(), now=now)
    _declare_queues(environment.id, parsed, now=now)
    if is_development:
        _promote(version, now=now)
    return version


@transaction.atomic
def promote_version(scope: Scope, *, number: str, now: datetime) -> Version:
    """Make a version the one that new runs get; an older one is a rollback."""
    require(scope.actor, Permission.DEPLOYMENTS_WRITE)
    version = Version.objects.filter(environment_id=scope.environment_id, number=number).first()
    if version is None:
        raise NotFound(f"There is no version {number} in this environment")
    transaction_lock(f"versions:{scope.environment_id}")
    _promote(version, now=now)
    record(
        scope.organization,
        action="version.promoted",
        target=("version", version.id),
        detail={"number": number},
        now=now,
    )
    return version


def _current_if_same(environment_id: UUID, manifest: Manifest) -> Version | None:
    promotion = (
        Promotion.objects.select_related("version").filter(environment_id=environment_id).first()
    )
    if promotion is None or not manifest.content_hash:
        return None
    version = promotion.version
    if version.content_hash != manifest.content_hash or version.archive:
        return None
    wanted = {task.id: _task_fields(task) for task in manifest.tasks}
    kept = {
        task.slug: {name: getattr(task, name) for name in wanted.get(task.slug, {})}
        for task in version.tasks.all()
    }
    return version if wanted == kept else None


def _create(environment_id: UUID, manifest: Manifest, build: Build, *, now: datetime) -> Version:
    taken = Version.objects.filter(
        environment_id=environment_id, number__startswith=now.strftime("%Y%m%d.")
    )
    version = Version.objects.create(
        environment_id=environment_id,
        number=policy.next_number(taken.values_list("number", flat=True), now=now),
        content_hash=manifest.content_hash,
        sdk_version=manifest.sdk_version,
        python_version=build.python_version or manifest.python_version,
        archive=build.archive,
        archive_sha256=build.archive_sha256,
        lock_hash=build.lock_hash,
        created_at=now,
    )
    Task.objects.bulk_create(
        [Task(version=version, slug=task.id, **_task_fields(task)) for task in manifest.tasks]
    )
    return version


def _task_fields(task: TaskPart) -> dict[str, Any]:
    return {
        "description": task.description or "",
        "queue_name": task.queue_name,
        "queue_type": QueueType.TASK if task.has_own_queue else QueueType.CUSTOM,
        "retry": task.retry.model_dump(by_alias=True),
        "machine": task.machine.preset,
        "max_duration_seconds": task.max_duration or None,
        "ttl_seconds": task.ttl,
        "suspend_after_seconds": task.suspend_after,
        "isolation": task.isolation,
        "durable": task.durable,
        "overlap": task.overlap,
        "collect": task.collect and task.collect.model_dump(),
        "payload_schema": task.payload_schema,
        "output_schema": task.output_schema,
        "schedules": [part.model_dump(by_alias=True, exclude_none=True) for part in task.schedules],
        "file_path": task.file_path,
        "entry_point": task.entry_point,
    }


def _declare_queues(environment_id: UUID, manifest: Manifest, *, now: datetime) -> None:
    """Keep what people overrode or paused; the limit in code follows the newest version."""
    own = {task.queue_name for task in manifest.tasks if task.has_own_queue}
    wanted = manifest.all_queues()
    flows = Queue.objects.filter(environment_id=environment_id, name__in=wanted)
    known = {row.pop("name"): row for row in flows.values("name", *_FLOW)}
    changed = [name for name in wanted if known.get(name) != wanted[name]]
    Queue.objects.bulk_create(
        [
            Queue(
                environment_id=environment_id,
                name=name,
                type=QueueType.TASK if name in own else QueueType.CUSTOM,
                created_at=now,
                **wanted[name],
            )
            for name in sorted(changed)
        ],
        update_conflicts=True,
        unique_fields=["environment", "name"],
        update_fields=["type", *_FLOW],
    )
    if changed:
        publish(QueuesChanged(environment_id=environment_id, names=tuple(sorted(changed)), at=now))


def _promote(version: Version, *, now: datetime) -> None:
    Promotion.objects.update_or_create(
        environment_id=version.environment_id, defaults={"version": version, "promoted_at": now}
    )
    publish(
        VersionPromoted(
            environment_id=version.environment_id,
            version_id=version.id,
            number=version.number,
            at=now,
        )
    )
