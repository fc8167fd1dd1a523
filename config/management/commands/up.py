"""`manage.py up`: everything that Holdfast consists of, under one supervisor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.management.supervise import supervise
from config.stores.errors import StoreError
from config.supervisor_programs import NAMES, Choice


class Command(BaseCommand):
    help = "Run the stores and all processes of Holdfast until Ctrl-C."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
        parser.add_argument("--port", type=int, default=8000, help="0 takes a free one")
        names = ", ".join(NAMES)
        parser.add_argument("--only", default="", metavar="NAMES", help=f"some of: {names}")
        parser.add_argument("--without", default="", metavar="NAMES", help="all but these")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            choice = Choice(
                home=Path(settings.HOLDFAST_HOME),
                host=options["host"],
                port=options["port"],
                only=_names(options["only"]),
                without=_names(options["without"]),
            )
        except StoreError as error:
            raise CommandError(str(error)) from error
        supervise(
            choice,
            write=self.stdout.write,
            greeting=lambda supervisor: f"Holdfast is up: {supervisor.url}  (Ctrl-C stops it)",
        )


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
