"""Projects for the staff."""

from __future__ import annotations

from django.contrib import admin

from apps.core.admin import MadeByOperations
from apps.projects.models import Project


@admin.register(Project)
class ProjectAdmin(MadeByOperations[Project]):
    list_display = ["name", "organization", "slug", "ref", "created_at", "archived_at"]
    list_filter = [("archived_at", admin.EmptyFieldListFilter), "created_at"]
    list_select_related = ["organization"]
    search_fields = ["name", "slug", "ref", "organization__name", "organization__slug"]
    readonly_fields = ["id", "organization", "slug", "ref", "created_at", "archived_at"]
