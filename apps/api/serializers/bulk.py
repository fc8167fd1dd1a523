"""Bulk actions."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.api.serializers.base import AnyField, Body, ObjectField, PublicIdField, Shape
from apps.api.serializers.runs import CursorsShape

BULK_STATUSES = ["PENDING", "COMPLETED", "ABORTED"]


class BulkActionBody(Body):
    """Which runs, and what happens to them: either a filter or runIds."""

    action = serializers.ChoiceField(["cancel", "replay"])
    filter = ObjectField(
        required=False,
        help_text="The filters of a run list: `status`, `taskIdentifier`, `version`, `tag`, "
        "`queue`, `machine`, `batch`, `schedule`, `bulkAction`, `isTest`, `from`, `to`, `period` "
        "(7d).",
    )
    runIds = serializers.ListField(child=PublicIdField("run"), required=False, allow_empty=False)
    name = serializers.CharField(required=False, allow_blank=True)
    targetRegion = AnyField(required=False, help_text="Ignored: there are no regions here.")


class CountsShape(Shape):
    """How far a bulk action is."""

    total = serializers.IntegerField()
    success = serializers.IntegerField()
    failure = serializers.IntegerField()


class BulkActionShape(Shape):
    """A bulk action."""

    id = PublicIdField("bulk")
    name = serializers.SerializerMethodField()
    type = serializers.SerializerMethodField()
    status = serializers.ChoiceField(BULK_STATUSES)
    counts = serializers.SerializerMethodField()
    createdAt = serializers.DateTimeField(source="created_at")
    completedAt = serializers.DateTimeField(source="completed_at", required=False)

    def get_name(self, action: Any) -> str | None:
        return action.name or None

    @extend_schema_field(serializers.ChoiceField(["CANCEL", "REPLAY"]))
    def get_type(self, action: Any) -> str:
        return str(action.kind).upper()

    @extend_schema_field(CountsShape)
    def get_counts(self, action: Any) -> dict[str, int]:
        return {
            "total": action.total_count or 0,
            "success": action.success_count,
            "failure": action.failure_count,
        }


class BulkActionPageShape(Shape):
    """One page of bulk actions, newest first."""

    data = BulkActionShape(many=True)  # type: ignore[assignment]  # the wire's name
    pagination = CursorsShape()
