"""The Django app of the outbox."""

from __future__ import annotations

from django.apps import AppConfig


class HoldfastConfig(AppConfig):
    """Installed as ``holdfast.django``; its tables begin with ``holdfast_``."""

    name = "holdfast.django"
    label = "holdfast"
    verbose_name = "Holdfast"
    default_auto_field = "django.db.models.BigAutoField"
