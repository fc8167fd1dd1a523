"""Noticing that files have changed, with nothing but the standard library."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

from holdfast.project import FILE_NAME, Project, source_files

Snapshot = dict[Path, tuple[int, int]]

_INTERVAL_SECONDS = 0.1
# Looking may take at most a tenth of the time, however large the project.
_REST_PER_LOOK = 9


async def changes(project: Project, *, since: Snapshot) -> AsyncIterator[list[Path]]:
    """Which files have changed, each time when they have come to rest."""
    before = since
    while True:
        before, changed = await _next_change(project, before)
        yield changed


def look(project: Project) -> Snapshot:
    """The modification times and sizes of everything that matters."""
    found: Snapshot = {}
    for path in (*source_files(project), project.root / FILE_NAME):
        try:
            state = path.stat()
        except OSError:
            continue  # gone since it was listed
        found[path] = (state.st_mtime_ns, state.st_size)
    return found


async def _next_change(project: Project, before: Snapshot) -> tuple[Snapshot, list[Path]]:
    """Editors write in several steps: a change counts when two looks in a row agree."""
    latest = before
    while True:
        started = time.monotonic()
        now = look(project)
        if now == latest and now != before:
            return now, sorted(
                path for path in {*before, *now} if before.get(path) != now.get(path)
            )
        latest = now
        took = time.monotonic() - started
        interval = _INTERVAL_SECONDS if now == before else _INTERVAL_SECONDS / 2
        await asyncio.sleep(max(interval, took * _REST_PER_LOOK))
