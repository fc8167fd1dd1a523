"""`manage.py stores`: the embedded PostgreSQL, Redis and ClickHouse alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from config.management.supervise import supervise
from config.stores.urls import ADDRESS_FILE
from config.supervisor_programs import STORES, Choice


class Command(BaseCommand):
    help = "Run the embedded PostgreSQL, Redis and ClickHouse until Ctrl-C."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        home = Path(settings.HOLDFAST_HOME)
        supervise(
            Choice(home=home, only=STORES),
            write=self.stdout.write,
            greeting=lambda _: f"The stores are up: see {home / ADDRESS_FILE}  (Ctrl-C stops them)",
        )
