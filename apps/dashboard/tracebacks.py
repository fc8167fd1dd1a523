"""A stack trace taken apart: a page shows where it happened, and folds what is not yours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_PYTHON = re.compile(r'^\s*File "(?P<file>.+)", line (?P<line>\d+), in (?P<function>.+)$')
_JAVASCRIPT = re.compile(r"^\s*at (?:(?P<function>.+?) \()?(?P<file>[^()]+?):(?P<line>\d+):\d+\)?$")
_MARKERS = re.compile(r"^\s*[\^~]+\s*$")
_OTHERS = ("site-packages/", "dist-packages/", "/lib/python3", "node_modules/", "<frozen ", "node:")
_MOST_FRAMES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One place of a stack; `is_library` when it is not the customer's own code."""

    file: str
    line: str
    function: str
    code: str
    is_library: bool

    @property
    def short_file(self) -> str:
        """The end of the path, which is what one knows it by."""
        return "/".join(self.file.split("/")[-3:])


def frames(trace: str | None) -> list[Frame]:
    """The frames of a stack trace in its own order; none when it is of a form unknown here."""
    lines = (trace or "").splitlines()
    return list(_frames(lines))[-_MOST_FRAMES:]


def _frames(lines: list[str]) -> Iterator[Frame]:
    for index, text in enumerate(lines):
        found = _PYTHON.match(text) or _JAVASCRIPT.match(text)
        if found is None:
            continue
        file = found["file"].strip()
        yield Frame(
            file=file,
            line=found["line"],
            function=found["function"] or "",
            code=_code(lines[index + 1 : index + 2], text),
            is_library=any(part in file for part in _OTHERS),
        )


def _code(following: list[str], frame: str) -> str:
    """The source line that Python prints below a frame, further in than the frame itself."""
    if not following or _MARKERS.match(following[0]):
        return ""
    indent = len(frame) - len(frame.lstrip())
    line = following[0]
    is_deeper = len(line) - len(line.lstrip()) > indent
    return line.strip() if is_deeper and not _PYTHON.match(line) else ""
