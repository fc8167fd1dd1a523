"""Ask a customer's project, in its own environment, which tasks it has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from apps.providers import commands
from apps.providers.environments import PythonEnvironment, tool_variables
from apps.providers.errors import BuildFailed

_MANIFEST_BYTES = 16 * 1024 * 1024


def read_manifest(
    environment: PythonEnvironment, project: Path, *, variables: Mapping[str, str], timeout: float
) -> dict[str, Any]:
    """Import the project's tasks and return the manifest; raises BuildFailed with the traceback."""
    finished = commands.run(
        [environment.python, "-m", "holdfast.index"],
        cwd=project,
        variables={**tool_variables(), "PYTHONUNBUFFERED": "1", **variables},
        timeout=timeout,
        keep=_MANIFEST_BYTES,
    )
    if finished.timed_out:
        raise BuildFailed(
            f"Importing the tasks took longer than {timeout:g} s: does a module do work, or wait,"
            " when it is imported?",
            output=finished.output,
        )
    answer = _last_line(finished.stdout)
    if finished.code != 0:
        raise _import_error(answer, finished)
    if not isinstance(answer, dict):
        raise BuildFailed(
            "The tasks were imported, but no manifest came out", output=finished.output
        )
    return answer


def _last_line(text: str) -> Any:
    """The answer, whatever was printed before it."""
    lines = text.strip().splitlines()
    try:
        return json.loads(lines[-1]) if lines else None
    except ValueError:
        return None


def _import_error(answer: Any, finished: commands.Finished) -> BuildFailed:
    error = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(error, dict):
        how = f"Python ended with code {finished.code}"
        return BuildFailed(f"The tasks cannot be imported: {how}", output=finished.output)
    return BuildFailed(
        f"The tasks cannot be imported: {error.get('name')}: {error.get('message')}",
        output=error.get("traceback") or finished.stderr.strip(),
    )
