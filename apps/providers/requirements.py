"""What a customer's project wants installed, and the hash under which that is cached."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apps.providers.errors import BuildFailed

PROJECT_FILE = "holdfast.toml"
# Lines that mean files of the project itself, which the text alone does not tell apart.
_LOCAL = re.compile(
    r"^\s*(-r|-c|-e|--requirement|--constraint|--editable|\.|/|file:)|@\s*file:|\./"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """The lines to install; `is_local` when they speak of files inside the project."""

    text: str
    source: str  # the file they come from, "" when there is none
    is_local: bool = False
    needs_export: bool = False  # uv.lock, which only uv can read


def requirements_of(project: Path) -> Requirements:
    """Find them: the file that holdfast.toml names, else the usual ones; raises BuildFailed."""
    named = _named_file(project)
    if named:
        return _read(project, named)
    for name in ("requirements.txt", "uv.lock", "pyproject.toml"):
        if (project / name).is_file():
            return _read(project, name)
    return Requirements(text="", source="")


def _named_file(project: Path) -> str:
    path = project / PROJECT_FILE
    if not path.is_file():
        return ""
    settings = _toml(path)
    section = settings.get("project", {})
    named = section.get("requirements", "") if isinstance(section, dict) else ""
    if not isinstance(named, str):
        raise BuildFailed(f"{PROJECT_FILE}: project.requirements must be the name of a file")
    return named


def _read(project: Path, name: str) -> Requirements:
    path = project / name
    if not path.resolve().is_relative_to(project.resolve()):
        raise BuildFailed(f"{PROJECT_FILE}: project.requirements {name!r} is outside the project")
    if not path.is_file():
        raise BuildFailed(f"{PROJECT_FILE}: project.requirements {name!r} is not in the archive")
    if path.name == "uv.lock":
        return Requirements(text=_text(path), source=name, needs_export=True)
    text = _dependencies(path) if path.suffix == ".toml" else _text(path)
    lines = [line.rstrip() for line in text.splitlines() if line.split("#")[0].strip()]
    is_local = any(_LOCAL.search(line) for line in lines)
    return Requirements(text="\n".join(lines), source=name, is_local=is_local)


def _dependencies(path: Path) -> str:
    section = _toml(path).get("project", {})
    found = section.get("dependencies", []) if isinstance(section, dict) else []
    if not isinstance(found, list) or not all(isinstance(line, str) for line in found):
        raise BuildFailed(f"{path.name}: project.dependencies must be a list of requirements")
    return "\n".join(found)


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_text(path))
    except tomllib.TOMLDecodeError as error:
        raise BuildFailed(f"{path.name} is not valid TOML: {error}") from None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BuildFailed(f"{path.name} cannot be read: {error}") from None
