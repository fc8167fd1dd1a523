"""Versions, deployments, queues, pools and their workers for the staff.

Only a pool's settings and a queue's override are edited here; all else is what happened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat

from apps.core.admin import MadeByOperations, ModelAdmin, ReadOnly
from apps.deployments.models import (
    Checkpoint,
    Deployment,
    Instance,
    KeyOverride,
    Pool,
    Promotion,
    Queue,
    Task,
    Version,
    WorkerSession,
)

_OF_ENVIRONMENT = ["environment__project__name", "environment__project__ref", "environment__name"]


_TASK_FIELDS = (
    "slug",
    "queue_name",
    "machine",
    "max_duration_seconds",
    "isolation",
    "file_path",
)

if TYPE_CHECKING:
    _TaskInline = admin.TabularInline[Task, Version]
else:
    _TaskInline = admin.TabularInline


class TaskInline(_TaskInline):
    model = Task
    fields = _TASK_FIELDS
    readonly_fields = _TASK_FIELDS
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Version)
class VersionAdmin(ReadOnly[Version]):
    list_display = [
        "number",
        "environment",
        "is_current",
        "task_count",
        "sdk_version",
        "created_at",
    ]
    list_filter = ["environment__type", "sdk_version"]
    list_select_related = ["environment"]
    search_fields = ["number", "content_hash", *_OF_ENVIRONMENT]
    date_hierarchy = "created_at"
    inlines = [TaskInline]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Version]:
        counted = Count("tasks", distinct=True)
        promoted = Count("promotions", distinct=True)
        found = super().get_queryset(request)
        return found.annotate(counted_tasks=counted, counted_promotions=promoted)

    @admin.display(boolean=True, description="current")
    def is_current(self, version: Any) -> bool:
        return bool(version.counted_promotions)

    @admin.display(description="tasks")
    def task_count(self, version: Any) -> int:
        return int(version.counted_tasks)


@admin.register(Promotion)
class PromotionAdmin(ReadOnly[Promotion]):
    list_display = ["environment", "version", "promoted_at"]
    list_filter = ["environment__type"]
    list_select_related = ["environment", "version"]
    search_fields = ["version__number", *_OF_ENVIRONMENT]


@admin.register(Deployment)
class DeploymentAdmin(ReadOnly[Deployment]):
    list_display = [
        "short_code",
        "environment",
        "status",
        "version",
        "size",
        "created_at",
        "finished_at",
    ]
    list_filter = ["status", "environment__type"]
    list_select_related = ["environment", "version"]
    search_fields = ["short_code", "content_hash", "version__number", *_OF_ENVIRONMENT]
    date_hierarchy = "created_at"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Deployment]:
        found = super().get_queryset(request)
        is_list = request.resolver_match and "changelist" in str(request.resolver_match.url_name)
        return found.defer("log", "error") if is_list else found

    @admin.display(description="archive", ordering="archive_bytes")
    def size(self, deployment: Deployment) -> str:
        return filesizeformat(deployment.archive_bytes) if deployment.archive_bytes else "-"


@admin.register(KeyOverride)
class KeyOverrideAdmin(MadeByOperations[KeyOverride]):
    list_display = ["key", "queue", "cap", "expires_at"]
    list_select_related = ["queue"]
    search_fields = ["key", "queue__name"]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # a limit has to reach the engine's lanes too


@admin.register(Queue)
class QueueAdmin(MadeByOperations[Queue]):
    list_display = ["name", "environment", "type", "concurrency_limit", "override", "paused_at"]
    list_filter = [
        "type",
        ("paused_at", admin.EmptyFieldListFilter),
        ("override", admin.EmptyFieldListFilter),
        "environment__type",
    ]
    list_select_related = ["environment"]
    search_fields = ["name", *_OF_ENVIRONMENT]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # a limit has to reach the engine's lanes too


@admin.register(Pool)
class PoolAdmin(ModelAdmin[Pool]):
    list_display = ["name", "provider", "live_workers", "settings", "created_at"]
    list_filter = ["provider"]
    search_fields = ["name"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Pool]:
        is_live = Q(instances__state__in=["starting", "running", "stopping"])
        return super().get_queryset(request).annotate(live=Count("instances", filter=is_live))

    def get_readonly_fields(self, request: HttpRequest, obj: Pool | None = None) -> list[str]:
        # Jobs and workers carry the name, so it stays what it was.
        return ["name", "provider", "created_at"] if obj else []

    def has_delete_permission(self, request: HttpRequest, obj: Pool | None = None) -> bool:
        return False

    @admin.display(description="live workers")
    def live_workers(self, pool: Any) -> int:
        return int(pool.live)


@admin.register(Instance)
class InstanceAdmin(ReadOnly[Instance]):
    list_display = [
        "id",
        "pool",
        "environment",
        "version",
        "machine",
        "state",
        "reason",
        "created_at",
        "started_at",
        "busy_at",
        "stopped_at",
    ]
    list_filter = ["state", "pool", "environment__type", "machine"]
    list_select_related = ["pool", "environment", "version"]
    search_fields = ["id", "provider_ref", "reason", "version__number", *_OF_ENVIRONMENT]
    date_hierarchy = "created_at"


@admin.register(Checkpoint)
class CheckpointAdmin(ReadOnly[Checkpoint]):
    list_display = ["id", "pool", "instance", "state", "reason", "created_at", "moved_at"]
    list_filter = ["state", "pool"]
    list_select_related = ["pool", "instance", "restored"]
    search_fields = ["id", "session_id", "instance__provider_ref", "reason"]
    show_full_result_count = False


@admin.register(Task)
class TaskAdmin(ReadOnly[Task]):
    list_display = ["slug", "version", "environment", "queue_name", "machine", "durable"]
    list_filter = ["durable", "isolation", "version__environment__type"]
    list_select_related = ["version__environment"]
    search_fields = ["slug", "queue_name", "version__number"]
    show_full_result_count = False

    @admin.display(description="environment")
    def environment(self, task: Task) -> str:
        return str(task.version.environment)


@admin.register(WorkerSession)
class WorkerSessionAdmin(ReadOnly[WorkerSession]):
    list_display = [
        "id",
        "environment",
        "version",
        "pool",
        "machine",
        "capacity",
        "connected_at",
        "seen_at",
        "disconnected_at",
    ]
    list_filter = [
        ("disconnected_at", admin.EmptyFieldListFilter),
        "pool",
        "environment__type",
        "sdk_version",
    ]
    list_select_related = ["environment", "version"]
    search_fields = ["id", "instance_id", "version__number", *_OF_ENVIRONMENT]
    date_hierarchy = "connected_at"
