"""Schedules for the staff: shown, and nothing of them edited."""

from __future__ import annotations

from django.contrib import admin

from apps.core.admin import ReadOnly, table
from apps.schedules.models import Declaration, Schedule, Tick

_SHOWN = 100


@admin.register(Schedule)
class ScheduleAdmin(ReadOnly[Schedule]):
    list_display = ["__str__", "environment", "task", "kind", "cron", "timezone", "is_active",
                    "due_at", "latest_at"]  # fmt: skip
    list_filter = ["kind", "is_active", "overlap", "missed"]
    list_select_related = ["environment"]
    search_fields = ["task", "deduplication_key", "external_id", "environment__project__ref"]
    show_full_result_count = False
    readonly_fields = ["ticks"]

    @admin.display(description="its latest times")
    def ticks(self, schedule: Schedule) -> str:
        found = Tick.objects.filter(schedule_id=schedule.pk).order_by("-at")
        return table(["at", "outcome", "origin", "reason", "run_id", "ticked_at"], found[:_SHOWN])


@admin.register(Declaration)
class DeclarationAdmin(ReadOnly[Declaration]):
    list_display = ["environment", "version_id", "declared_at"]
    list_select_related = ["environment"]
    search_fields = ["environment__project__ref"]
