"""What is seen of versions, their tasks and queues, and the deployments that shipped them."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet

from apps.core.errors import NotFound
from apps.core.ids import parse_public_id
from apps.core.paging import CursorPage, Page, paged
from apps.deployments import definitions
from apps.deployments.definitions import TaskDefinition
from apps.deployments.models import Deployment, KeyOverride, Promotion, Queue, Task, Version
from apps.environments.scope import Scope
from apps.orgs.permissions import Permission, require


def list_deployments(
    scope: Scope, *, before: UUID | None = None, size: int = 25, status: str | None = None
) -> list[Deployment]:
    """The environment's deployments, newest first, from the one after `before` on."""
    found = _deployments(scope)
    if before is not None:
        found = found.filter(id__lt=before)
    if status is not None:
        found = found.filter(status=status)
    # The log may be long and no list shows it.
    return list(found.defer("log").order_by("-id")[:size])


def deployments_page(
    scope: Scope, page: CursorPage, *, status: str | None = None, text: str = ""
) -> Page[Deployment]:
    """One page of the deployments; `text` is a part of the version, or the short code."""
    tried = Q()
    if status:
        tried &= Q(status=status)
    if text:
        tried &= Q(version__number__icontains=text) | Q(short_code=text)
    return paged(_deployments(scope).defer("log"), page, tried=tried)


def get_deployment(scope: Scope, deployment_id: UUID) -> Deployment:
    """One deployment with its version; NotFound."""
    found = _deployments(scope).filter(pk=deployment_id).first()
    if found is None:
        raise NotFound("There is no such deployment in this environment")
    return found


def get_current_deployment(scope: Scope) -> Deployment:
    """The deployment whose version new runs get; NotFound."""
    found = _deployments(scope).filter(version__promotions__environment=scope.environment_id)
    if (deployment := found.first()) is None:
        raise NotFound("Nothing has been deployed to this environment")
    return deployment


def current_version(scope: Scope) -> Version | None:
    """The version that new runs of this environment get."""
    require(scope.actor, Permission.DEPLOYMENTS_READ)
    found = Promotion.objects.select_related("version").filter(environment=scope.environment_id)
    return promotion.version if (promotion := found.first()) else None


def get_version(scope: Scope, number: str) -> Version:
    """A version by its number; NotFound."""
    require(scope.actor, Permission.DEPLOYMENTS_READ)
    found = Version.objects.filter(environment=scope.environment_id, number=number).first()
    if found is None:
        raise NotFound(f"There is no version {number} in this environment")
    return found


def list_versions(scope: Scope, *, size: int = 25) -> list[Version]:
    """The environment's versions, newest first."""
    require(scope.actor, Permission.DEPLOYMENTS_READ)
    return list(Version.objects.filter(environment=scope.environment_id)[:size])


def tasks_of(scope: Scope, version_id: UUID) -> list[Task]:
    """The tasks of one version, by name."""
    require(scope.actor, Permission.DEPLOYMENTS_READ)
    tasks = Task.objects.filter(version=version_id, version__environment=scope.environment_id)
    return list(tasks.order_by("slug"))


def task_of(scope: Scope, version_id: UUID, slug: str) -> Task | None:
    """A task as a version defines it; None when it has no such task."""
    require(scope.actor, Permission.DEPLOYMENTS_READ)
    tasks = Task.objects.filter(version=version_id, version__environment=scope.environment_id)
    return tasks.filter(slug=slug).first()


def task_definition(environment_id: UUID, slug: str) -> TaskDefinition | None:
    """What the current version says about a task: None when it has no such task."""
    version = definitions.current_version(environment_id)
    return definitions.definition(version, slug) if version else None


def schedules_of(version_id: UUID) -> list[tuple[str, dict[str, Any]]]:
    """What a version's code declares of schedules: each task's slug with one of its schedules."""
    tasks = Task.objects.filter(version=version_id).exclude(schedules=[]).order_by("slug")
    return [
        (slug, schedule)
        for slug, schedules in tasks.values_list("slug", "schedules")
        for schedule in schedules
    ]


def list_queues(
    scope: Scope, *, named: str = "", kind: str = "", most: int | None = None
) -> list[Queue]:
    """The queues of the environment, by name; `named` is a part of it, in any case."""
    require(scope.actor, Permission.QUEUES_READ)
    found = Queue.objects.filter(environment=scope.environment_id)
    if named:
        found = found.filter(name__icontains=named)
    if kind:
        found = found.filter(type=kind)
    return list(found.order_by("name")[:most])


def list_limited_queues(scope: Scope) -> QuerySet[Queue]:
    """The queues that have a limit of their own, by name."""
    require(scope.actor, Permission.QUEUES_READ)
    limited = Q(
        concurrency_limit=None, override=None, total_limit=None, total_override=None
    )  # fmt: skip
    return Queue.objects.filter(~limited, environment=scope.environment_id).order_by("name")


def get_queue_by_id(scope: Scope, queue_id: str) -> Queue:
    """A queue by its public id; NotFound."""
    require(scope.actor, Permission.QUEUES_READ)
    wanted = parse_public_id("queue", queue_id)
    found = Queue.objects.filter(environment=scope.environment_id, pk=wanted).first()
    if found is None:
        raise NotFound("There is no such queue in this environment")
    return found


def key_override(scope: Scope, name: str, key: str, *, now: datetime) -> KeyOverride | None:
    """The limit that one key of a queue has for the time being."""
    require(scope.actor, Permission.QUEUES_READ)
    live = KeyOverride.objects.filter(
        queue__environment=scope.environment_id, queue__name=name, key=key, expires_at__gt=now
    )
    return live.first()


def list_key_overrides(scope: Scope, name: str, *, now: datetime) -> list[KeyOverride]:
    """The keys of a queue that have a limit of their own for the time being, by key."""
    require(scope.actor, Permission.QUEUES_READ)
    live = KeyOverride.objects.filter(
        queue__environment=scope.environment_id, queue__name=name, expires_at__gt=now
    )
    return list(live.order_by("key"))


def get_queue(scope: Scope, name: str) -> Queue:
    """A queue by its name (a task's own is ``task/<id>``); NotFound."""
    require(scope.actor, Permission.QUEUES_READ)
    found = Queue.objects.filter(environment=scope.environment_id, name=name).first()
    if found is None:
        raise NotFound(f"There is no queue {name!r} in this environment")
    return found


def _deployments(scope: Scope) -> QuerySet[Deployment]:
    require(scope.actor, Permission.DEPLOYMENTS_READ)
    return Deployment.objects.select_related("version").filter(environment=scope.environment_id)
