"""Asking for a project's manifest in a process of its own, which is already there when asked."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import Any


class IndexFailed(Exception):
    """The project cannot be imported; `traceback` begins in the customer's code."""

    def __init__(self, message: str, traceback: str) -> None:
        super().__init__(message)
        self.traceback = traceback


class Indexer:
    """Keeps one process waiting that has imported the SDK, so that an answer takes no longer than
    the customer's own imports.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._waiting: Process | None = None

    async def read(self) -> dict[str, Any]:
        """The manifest of the code as it is now; raises IndexFailed."""
        process = self._waiting or await self._start()
        self._waiting = None
        output, errors = await process.communicate(b"go\n")
        self._waiting = await self._start()
        return _manifest(output, errors)

    async def close(self) -> None:
        """End the process that waits."""
        process, self._waiting = self._waiting, None
        if process is not None:
            process.kill()
            await process.communicate()

    async def _start(self) -> Process:
        # Byte code is known by the second of its source: two saves within one would be mixed up.
        variables = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "holdfast.index",
            "--wait",
            cwd=self._root,
            env=variables,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            start_new_session=True,  # Ctrl-C is not for it
        )


def _manifest(output: bytes, errors: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(output)
    except ValueError:
        raise IndexFailed("The tasks could not be read", errors.decode(errors="replace")) from None
    error = answer.get("error")
    if error is not None:
        raise IndexFailed(error["message"], error["traceback"])
    manifest: dict[str, Any] = answer
    return manifest
