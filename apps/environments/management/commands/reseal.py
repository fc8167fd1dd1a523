"""Seal everything with the newest of SEALING_KEYS, after a new one was put in front."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from apps.environments.operations.sealing import reseal


class Command(BaseCommand):
    help = "Seal every key, variable and invite with the first of SEALING_KEYS."

    def handle(self, *args: Any, **options: Any) -> None:
        done = reseal()
        self.stdout.write(f"{done} values sealed anew; older SEALING_KEYS can be removed now.")
