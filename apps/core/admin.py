"""What the admin pages of all apps share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

Row = TypeVar("Row", bound=Model)

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin
else:

    class ModelAdmin(admin.ModelAdmin):
        """Django's own, which the type checker takes for generic and Python does not."""

        def __class_getitem__(cls, row):
            return cls


class MadeByOperations(ModelAdmin[Row]):
    """Rows that only operations make and remove: the admin shows them, and edits what it may."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ReadOnly(MadeByOperations[Row]):
    """Rows that the admin only shows."""

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
