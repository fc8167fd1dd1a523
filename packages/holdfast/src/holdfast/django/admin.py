"""The outbox in the admin: what waits, what was sent as which run, what was refused and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.http import HttpRequest

from holdfast.django.models import OutboxEntry

if TYPE_CHECKING:
    _Admin = admin.ModelAdmin[OutboxEntry]
else:
    _Admin = admin.ModelAdmin


@admin.register(OutboxEntry)
class OutboxEntryAdmin(_Admin):
    """Shown, and not edited: the relay alone writes here."""

    list_display = ["task", "created_at", "sent_at", "run_id", "failed_at", "attempts", "error"]
    list_filter = ["task", "sent_at", "failed_at"]
    search_fields = ["task", "run_id", "error"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody adds entries by hand."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody edits entries by hand."""
        return False
