"""`manage.py migrate_telemetry`: bring ClickHouse's schema up to date."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.telemetry.errors import TelemetryUnavailable
from apps.telemetry.operations.schema import migrate_telemetry


class Command(BaseCommand):
    help = "Bring the schema of ClickHouse up to date."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            applied = migrate_telemetry()
        except TelemetryUnavailable as error:
            raise CommandError(error.message) from error
        for name in applied:
            self.stdout.write(f"  applied {name}")
        if not applied:
            self.stdout.write("  the telemetry schema is up to date")
