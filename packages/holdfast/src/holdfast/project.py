"""A customer's project: the folder with a ``holdfast.toml``, what that says, and its tasks' code.

[project]
ref = "proj_…"                     # which project of the server this is
dirs = ["tasks"]                   # folders, files or modules to import
requirements = "requirements.txt"  # or pyproject.toml; left out: whichever there is
ignore = ["data/"]                 # not deployed, in the syntax of .gitignore

[defaults]                         # for tasks that say nothing themselves
retry = { attempts = 3 }
machine = "small-1x"
max_duration = 3600
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pydantic

from holdfast.errors import HoldfastError
from holdfast.machines import get_machine
from holdfast.retry import Retry

FILE_NAME = "holdfast.toml"
_REQUIREMENTS = ("requirements.txt", "uv.lock", "pyproject.toml")
_NOT_TASKS = ("__main__.py", "conftest.py", "setup.py")


class ProjectError(HoldfastError):
    """The project or its ``holdfast.toml`` is wrong; the text says what and where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What holds for tasks that say nothing themselves.

    Attributes:
        retry: The fields of a `holdfast.Retry`.
        machine: A preset.
        max_duration: Seconds of execution time per attempt.
    """

    retry: dict[str, Any] | None = None
    machine: str | None = None
    max_duration: Annotated[float, pydantic.Field(gt=0)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A project as its file describes it.

    Attributes:
        root: The folder of the ``holdfast.toml``.
        ref: The project's name on the server, such as ``proj_…``; empty before ``holdfast init``.
        dirs: Folders, files or modules with tasks.
        requirements: The file that names what the tasks need, relative to `root`.
        ignore: What is not deployed, in the syntax of ``.gitignore``.
        defaults: What holds for tasks that say nothing themselves.
    """

    root: Path
    ref: str = ""
    dirs: tuple[str, ...] = ("tasks",)
    requirements: str | None = None
    ignore: tuple[str, ...] = ()
    defaults: Defaults = field(default_factory=Defaults)


class _Section(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", strict=True)


class _ProjectSection(_Section):
    ref: str = ""
    dirs: list[Annotated[str, pydantic.Field(min_length=1)]] = ["tasks"]
    requirements: str | None = None
    ignore: list[str] = []


class _DefaultsSection(_Section):
    retry: dict[str, Any] | None = None
    machine: str | None = None
    max_duration: Annotated[float, pydantic.Field(gt=0)] | None = None

    @pydantic.field_validator("retry", mode="before")
    @classmethod
    def _is_a_policy(cls, given: Any) -> Any:
        fields = {"attempts": given} if isinstance(given, int) else given
        try:
            Retry.of(fields if isinstance(fields, dict) else None)
        except TypeError as error:
            raise ValueError(str(error).rpartition("() ")[2]) from None
        return fields

    @pydantic.field_validator("machine")
    @classmethod
    def _is_a_preset(cls, name: str | None) -> str | None:
        return None if name is None else get_machine(name).name


class _File(_Section):
    project: _ProjectSection
    defaults: _DefaultsSection = pydantic.Field(default_factory=_DefaultsSection)


def find(start: Path | None = None) -> Path:
    """The nearest folder with a project file, from `start` upwards; raises ProjectError."""
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / FILE_NAME).is_file():
            return folder
    raise ProjectError(f"There is no {FILE_NAME} in {start} or above: run `holdfast init`.")


def load(root: Path) -> Project:
    """The project in this folder; raises ProjectError with everything that is wrong."""
    path = root / FILE_NAME
    try:
        file = _File.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise ProjectError(f"There is no {path}: run `holdfast init`.") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ProjectError(f"{path} cannot be read: {error}") from None
    except pydantic.ValidationError as error:
        raise ProjectError(f"{path}: {_problems(error)}") from None
    section, defaults = file.project, file.defaults
    return Project(
        root=root,
        ref=section.ref,
        dirs=tuple(section.dirs),
        requirements=_requirements(root, section.requirements),
        ignore=tuple(section.ignore),
        defaults=Defaults(
            retry=defaults.retry, machine=defaults.machine, max_duration=defaults.max_duration
        ),
    )


def import_tasks(project: Project) -> None:
    """Import everything that `dirs` names, so that the tasks register themselves.

    Raises:
        ProjectError: `dirs` names something that is not there.
        Exception: Whatever the customer's code raises.
    """
    for folder in _import_roots(project.root):
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    for entry in project.dirs:
        for name in _modules(project.root, entry):
            importlib.import_module(name)


def source_files(project: Project) -> Iterator[Path]:
    """Every Python file of the project, for watching; ignored folders are left out."""
    skipped = {"__pycache__", "node_modules", "site-packages"}
    for folder, folders, files in os.walk(project.root):
        here = Path(folder)
        folders[:] = [
            name
            for name in folders
            if name not in skipped
            and not name.startswith(".")
            and not (here / name / "pyvenv.cfg").exists()
        ]
        yield from (here / name for name in files if name.endswith(".py"))


def _problems(error: pydantic.ValidationError) -> str:
    found = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"])
        is_unknown = problem["type"] == "extra_forbidden"
        message = "there is no such setting" if is_unknown else problem["msg"]
        found.append(f"{where}: {message.removeprefix('Value error, ')}")
    return "; ".join(found)


def _requirements(root: Path, named: str | None) -> str | None:
    if named is None:
        return next((name for name in _REQUIREMENTS if (root / name).is_file()), None)
    if not (root / named).is_file():
        raise ProjectError(f"{root / FILE_NAME}: project.requirements: there is no file {named!r}")
    return named


def _import_roots(root: Path) -> list[Path]:
    """Where modules are looked for: the folder itself, and ``src`` when it is no package."""
    source = root / "src"
    has_source = source.is_dir() and not (source / "__init__.py").exists()
    return [source, root] if has_source else [root]


def _modules(root: Path, entry: str) -> Iterator[str]:
    path = root / entry
    if not path.resolve().is_relative_to(root.resolve()):
        raise ProjectError(f"{root / FILE_NAME}: project.dirs: {entry!r} is outside the project")
    if path.is_dir():
        yield from (_own_name(root, file) for file in _files(path))
    elif path.is_file():
        yield _own_name(root, path)
    else:
        yield from _named_modules(root, entry)


def _files(folder: Path) -> list[Path]:
    """The modules of a folder at any depth, in the order of their names."""
    return sorted(
        path
        for path in folder.rglob("*.py")
        if path.name not in _NOT_TASKS
        and not path.name.startswith((".", "test_"))
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _own_name(root: Path, file: Path) -> str:
    """The name that a file is imported by; raises ProjectError when it would mean another."""
    base = next(r for r in _import_roots(root) if file.is_relative_to(r))
    parts = file.relative_to(base).with_suffix("").parts
    top = parts[0]
    spec = importlib.util.find_spec(top)
    places = [*(spec.submodule_search_locations or ()), spec.origin or ""] if spec else []
    if not any(Path(place).is_relative_to(base) for place in places if place):
        raise ProjectError(
            f"{root / FILE_NAME}: project.dirs: {top!r} is also the name of an installed package "
            f"({', '.join(place for place in places if place)}): rename it, or add "
            f"{top}/__init__.py"
        )
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _named_modules(root: Path, entry: str) -> Iterator[str]:
    is_name = all(part.isidentifier() for part in entry.split("."))
    if not is_name or importlib.util.find_spec(entry.partition(".")[0]) is None:
        raise ProjectError(
            f"{root / FILE_NAME}: project.dirs: {entry!r} is neither a folder, a file nor a module"
        )
    yield entry
    module = sys.modules.get(entry)  # imported by the caller when the first name came out
    for found in pkgutil.walk_packages(getattr(module, "__path__", []), f"{entry}."):
        if not found.name.endswith(".__main__"):
            yield found.name
