"""``python -m holdfast.index``: import the project's tasks and print their manifest.

The last line of stdout is JSON and nothing else is printed there: the manifest, or with exit code
1 ``{"error": {"name", "message", "traceback"}}``. What the customer's modules print on import goes
to stderr. With ``--wait`` it is asked by a line on stdin: all but the customer's code is loaded by
then.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from holdfast import archive, manifest, project
from holdfast.errors import DuplicateTask
from holdfast.project import ProjectError

_PACKAGES = (Path(__file__).parent, Path(importlib.__file__).parent)
_OWN = (*[f"{folder}{os.sep}" for folder in _PACKAGES], "<frozen importlib")


def read_manifest() -> dict[str, Any]:
    """The manifest of the project around the working folder; raises what its code raises."""
    found = project.load(project.find())
    project.import_tasks(found)
    return manifest.build_manifest(
        root=found.root, content_hash=archive.content_hash(found), defaults=found.defaults
    ).to_wire()


def describe(error: BaseException) -> dict[str, Any]:
    """An error for people: the traceback begins in the customer's code."""
    name = type(error).__name__
    message = str(error) or name
    if isinstance(error, SystemExit):
        message = f"a module called sys.exit({error.code!r}) when it was imported"
    if isinstance(error, ProjectError | DuplicateTask):
        return {"name": name, "message": message, "traceback": ""}
    lines = traceback.TracebackException.from_exception(error)
    _drop_own_frames(lines)
    return {"name": name, "message": message, "traceback": "".join(lines.format())}


def main() -> int:
    """Print the manifest, or the error; returns the exit code."""
    # Descriptor 1 is made to mean stderr, so that not even a C extension can print in between.
    if "--wait" in sys.argv[1:] and not sys.stdin.readline():
        return 0  # whoever started it is gone
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        answer: dict[str, Any] = read_manifest()
        code = 0
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        answer, code = {"error": describe(error)}, 1
    sys.stdout.flush()
    with answers:
        answers.write(json.dumps(answer) + "\n")
    return code


def _drop_own_frames(lines: traceback.TracebackException) -> None:
    theirs = [frame for frame in lines.stack if not frame.filename.startswith(_OWN)]
    if theirs:
        lines.stack[:] = theirs
    for linked in (lines.__cause__, lines.__context__):
        if linked is not None:
            _drop_own_frames(linked)


if __name__ == "__main__":
    # Threads that a module started must not keep an answered question open.
    exit_code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)
