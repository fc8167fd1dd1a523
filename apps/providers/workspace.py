"""What deployed versions need on this machine: their files and their Python, both cached."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from apps.providers.archives import UnpackLimits, unpack
from apps.providers.environments import EnvironmentBuilder, Log, PythonEnvironment
from apps.providers.protocol import Bundle


def _quiet(_: str) -> None:
    """Nobody listens."""


class Workspace:
    """Projects and environments under one folder, shared by indexing and by workers."""

    def __init__(self, home: Path, *, sdk: Path | None, limits: UnpackLimits | None = None) -> None:
        self.home = home
        self._projects = home / "versions"
        self._environments = home / "environments"
        self._builder = EnvironmentBuilder(home, sdk=sdk)
        self._limits = limits

    def project(self, bundle: Bundle) -> Path:
        """The unpacked files of this bundle; raises ArchiveRefused."""
        path = self._projects / bundle.key
        if path.is_dir():
            os.utime(path)  # so that pruning knows it is in use
            return path
        # Unpacked aside and moved in one step: a folder of this name is always whole.
        scratch = self._projects / f".{bundle.key}.{uuid4().hex}"
        with bundle.open() as stream:
            unpack(stream, scratch, self._limits)
        with suppress(OSError):
            scratch.rename(path)
        shutil.rmtree(scratch, ignore_errors=True)  # another was faster
        return path

    def environment(self, bundle: Bundle, *, log: Log = _quiet) -> PythonEnvironment:
        """The Python environment of this bundle; raises BuildFailed."""
        return self._builder.build(
            self.project(bundle), key=bundle.key, python_version=bundle.python_version, log=log
        )

    def prune(self, *, keep: Collection[str], unused_seconds: float) -> list[str]:
        """Remove projects and environments that are not in `keep` and were not used lately."""
        removed = []
        before = time.time() - unused_seconds
        for folder in (self._projects, self._environments):
            for path in folder.iterdir() if folder.is_dir() else ():
                is_old = path.is_dir() and path.stat().st_mtime < before
                if is_old and path.name not in keep:
                    shutil.rmtree(path, ignore_errors=True)
                    removed.append(path.name)
        return removed
