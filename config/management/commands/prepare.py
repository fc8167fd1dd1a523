"""`manage.py prepare`: what a start needs once, in one process: migrations and static files.

Both are looked at first: a start with nothing to migrate and nothing new to collect, as nearly all
are, costs a fraction of what Django's own commands take to find that out.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandParser
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from apps.core import clock
from apps.environments.management.commands.seed import seed

_COLLECTED = ".collected"


class Command(BaseCommand):
    help = "Migrate the database and collect the static files."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--seed", metavar="FILE", help="also make the demo organization; its secrets go there"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if _is_behind():
            call_command("migrate", interactive=False, verbosity=1)
        _collect()
        if options["seed"]:
            _keep(Path(options["seed"]), seed(with_token=True, now=clock.now()))


def _is_behind() -> bool:
    executor = MigrationExecutor(connection)
    return bool(executor.migration_plan(executor.loader.graph.leaf_nodes()))


def _collect() -> None:
    """Collect the static files unless exactly these have been collected."""
    mark = Path(settings.STATIC_ROOT) / _COLLECTED
    present = _fingerprint()
    if mark.exists() and mark.read_text() == present:
        return
    call_command("collectstatic", interactive=False, verbosity=0)
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text(present)


def _fingerprint() -> str:
    """What there is to collect: each file with its size and the time of its latest change."""
    digest = hashlib.sha256()
    for finder in get_finders():
        for path, storage in finder.list([]):
            found = Path(storage.path(path)).stat()
            digest.update(f"{path}\0{found.st_size}\0{found.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _keep(path: Path, secrets: dict[str, Any]) -> None:
    with open(os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "w") as out:
        json.dump(secrets, out)
