"""`manage.py migrate` beside a running system: whoever needs a table waits for it only a moment.

A statement that changes a table waits for all who use it, and all who come after wait behind it.
So each attempt of a migration gives up its place after a short while, lets the others through, and
is made again.
"""

from __future__ import annotations

import time
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.core.management.commands import migrate
from django.db import OperationalError, connections
from django.db.migrations import Migration
from psycopg import errors

_PAUSE = 1.0


class Command(migrate.Command):
    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--lock-seconds",
            type=float,
            default=2.0,
            help="how long a statement may wait for a lock before it lets others through (2)",
        )
        parser.add_argument(
            "--tries", type=int, default=150, help="how often a migration is tried (150)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        self._lock_seconds = options["lock_seconds"]
        self._database = options["database"]
        try:
            self._persist(options["tries"], args, options)
        finally:
            self._let_wait(0)

    def _persist(self, tries: int, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        for _ in range(tries):
            try:
                super().handle(*args, **options)
            except OperationalError as error:
                if not isinstance(error.__cause__, errors.LockNotAvailable):
                    raise
                self.stdout.write(f"\n  a table is in use, tried again in {_PAUSE:.0f} s")
                time.sleep(_PAUSE)
            else:
                return
        raise CommandError(
            f"a table was in use at each of {tries} tries: see pg_stat_activity for who holds it"
        )

    def migration_progress_callback(
        self, action: str, migration: Migration | None = None, fake: bool = False
    ) -> None:
        """Called before each migration, too."""
        if migration is not None and action in {"apply_start", "unapply_start"}:
            # what builds an index concurrently waits for old transactions, and nobody for it
            self._let_wait(self._lock_seconds if migration.atomic else 0)
        super().migration_progress_callback(action, migration, fake)

    def _let_wait(self, seconds: float) -> None:
        """How long the next statements may wait for a lock; 0 is for ever."""
        with connections[self._database].cursor() as cursor:
            cursor.execute(
                "SELECT set_config('lock_timeout', %s, false)", [f"{seconds * 1000:.0f}"]
            )
