"""Python environments of deployed versions: the SDK and what the project requires.

An environment is named by a hash of all that goes into it, so versions that want the same share
one, and a project that wants nothing shares the base environment. `uv` makes it; where `uv` is not
installed, the standard library's venv and pip do.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from apps.providers import commands
from apps.providers.errors import BuildFailed
from apps.providers.requirements import Requirements, requirements_of

Log = Callable[[str], None]

_LAYOUT = 1  # part of every hash: raise it when environments are made differently
_COMPLETE = ".complete"
_SDK = "holdfast"
_OUTPUT_LINES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonEnvironment:
    """A finished environment."""

    path: Path
    lock_hash: str
    is_cached: bool

    @property
    def python(self) -> Path:
        return self.path / "bin" / "python"


class EnvironmentBuilder:
    """Makes environments under `home`; `sdk` is the SDK's source tree, None to take PyPI's."""

    def __init__(self, home: Path, *, sdk: Path | None, timeout: float = 900) -> None:
        self._environments = home / "environments"
        self._wheels = home / "wheels"
        self._sdk = sdk
        self._timeout = timeout

    def build(self, project: Path, *, key: str, python_version: str, log: Log) -> PythonEnvironment:
        """The environment of this project, from the cache if it is there; raises BuildFailed.

        `key` names the project's content: it goes into the hash only when the requirements speak
        of files inside the project.
        """
        requirements = requirements_of(project)
        python = _python_request(python_version)
        lock_hash = self._hash(requirements, python=python, key=key)
        path = self._environments / lock_hash
        with locked(self._environments / f"{lock_hash}.lock"):
            is_cached = (path / _COMPLETE).exists() and (path / "bin" / "python").exists()
            if is_cached:
                os.utime(path)
                log(f"Environment {lock_hash[:12]} is there already")
            else:
                shutil.rmtree(path, ignore_errors=True)
                self._make(path, project, requirements, python=python, log=log)
                (path / _COMPLETE).touch()
        return PythonEnvironment(path=path, lock_hash=lock_hash, is_cached=is_cached)

    def _hash(self, requirements: Requirements, *, python: str, key: str) -> str:
        ingredients = [
            _LAYOUT,
            python,
            platform.platform(),
            _tree_hash(self._sdk) if self._sdk else _sdk_version(),
            requirements.text,
            key if requirements.is_local else "",
        ]
        return hashlib.sha256(json.dumps(ingredients).encode()).hexdigest()[:32]

    def _make(
        self, path: Path, project: Path, requirements: Requirements, *, python: str, log: Log
    ) -> None:
        lines = self._sdk_lines(is_alone=not requirements.text)
        installer: _Installer = _Uv(uv, self._timeout) if (uv := find_uv()) else _Pip(self._timeout)
        log(f"Making environment {path.name[:12]} with {installer.name}, Python {python}")
        installer.create(path, python=python)
        if requirements.text:
            log(f"Installing {requirements.source}")
        wanted = path / "requirements.txt"
        wanted.write_text(
            installer.export(project) if requirements.needs_export else requirements.text + "\n"
        )
        # Relative paths inside mean the project's folder, so it is read from there.
        installer.install(path, project, sdk=lines, requirements=wanted)

    def _sdk_lines(self, *, is_alone: bool) -> list[str]:
        """The SDK itself; where nothing else is wanted, its dependencies as the server has them."""
        if self._sdk is None:
            lines = [f"{_SDK}=={_sdk_version()}"]
        else:
            lines = [f"{_SDK} @ {self._wheel(self._sdk).as_uri()}"]
        return lines + (_pins(_SDK) if is_alone else [])

    def _wheel(self, sdk: Path) -> Path:
        """The SDK's wheel, built once per state of its source."""
        folder = self._wheels / _tree_hash(sdk)[:32]
        with locked(self._wheels / f"{folder.name}.lock"):
            if not folder.exists():
                scratch = self._wheels / f"{folder.name}.new"
                shutil.rmtree(scratch, ignore_errors=True)
                command = [
                    sys.executable,
                    "-m",
                    "hatchling",
                    "build",
                    "-t",
                    "wheel",
                    "-d",
                    str(scratch),
                ]
                _run(command, cwd=sdk, timeout=self._timeout, doing="building the SDK's wheel")
                scratch.rename(folder)
            return next(folder.glob("*.whl"))


class _Installer:
    name = ""

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout

    def create(self, path: Path, *, python: str) -> None:
        raise NotImplementedError

    def export(self, project: Path) -> str:
        raise NotImplementedError

    def install(self, path: Path, project: Path, *, sdk: list[str], requirements: Path) -> None:
        raise NotImplementedError


class _Uv(_Installer):
    name = "uv"

    def __init__(self, binary: Path, timeout: float) -> None:
        super().__init__(timeout)
        self._binary = binary

    def create(self, path: Path, *, python: str) -> None:
        wanted = sys.executable if python == _own_python() else python
        self._uv(
            ["venv", "--python", wanted, path], cwd=path.parent, doing=f"finding Python {python}"
        )

    def export(self, project: Path) -> str:
        command = ["export", "--frozen", "--no-dev", "--no-emit-project", "--no-hashes", "--quiet"]
        return self._uv(command, cwd=project, doing="reading uv.lock").stdout

    def install(self, path: Path, project: Path, *, sdk: list[str], requirements: Path) -> None:
        python = str(path / "bin" / "python")
        command = ["pip", "install", "--python", python, "--compile-bytecode"]
        self._uv(
            [*command, *sdk, "-r", str(requirements)],
            cwd=project,
            doing="installing the requirements",
        )

    def _uv(self, arguments: Sequence[str | Path], *, cwd: Path, doing: str) -> commands.Finished:
        command = [self._binary, *arguments]
        return _run(command, cwd=cwd, timeout=self.timeout, doing=doing)


class _Pip(_Installer):
    name = "venv and pip"

    def create(self, path: Path, *, python: str) -> None:
        if python != _own_python():
            raise BuildFailed(
                f"Python {python} is wanted but this server has {_own_python()}; with uv installed"
                " on the server other versions can be used"
            )
        _run(
            [sys.executable, "-m", "venv", path],
            cwd=path.parent,
            timeout=self.timeout,
            doing="making the environment",
        )

    def export(self, project: Path) -> str:
        raise BuildFailed("uv.lock can only be read where uv is installed; use requirements.txt")

    def install(self, path: Path, project: Path, *, sdk: list[str], requirements: Path) -> None:
        # Apart, because pip wants a hash for everything once one line has one.
        for wanted in (sdk, ["-r", str(requirements)]):
            _run(
                [path / "bin" / "python", "-m", "pip", "install", "--quiet", *wanted],
                cwd=project,
                timeout=self.timeout,
                doing="installing the requirements",
            )


def find_uv() -> Path | None:
    """uv beside this Python, else on PATH."""
    beside = Path(sys.executable).parent / "uv"
    if beside.is_file():
        return beside
    found = shutil.which("uv")
    return Path(found) if found else None


def tool_variables() -> dict[str, str]:
    """What build tools and workers may know of this process: never its secrets.

    HOLDFAST_SUPERVISOR marks them as belonging to `manage.py up`, which ends what carries it.
    """
    wanted = re.compile(
        r"PATH|HOME|LANG|LC_\w+|TMPDIR|TZ|(UV|PIP|SSL|XDG)_\w+|(?i:\w*_proxy)"
        r"|REQUESTS_CA_BUNDLE|HOLDFAST_SUPERVISOR"
    )
    return {name: value for name, value in os.environ.items() if wanted.fullmatch(name)}


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file's lock: among threads, processes and restarts, one at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _run(
    command: Sequence[str | Path], *, cwd: Path, timeout: float, doing: str
) -> commands.Finished:
    finished = commands.run(command, cwd=cwd, variables=tool_variables(), timeout=timeout)
    output = "\n".join(finished.output.splitlines()[-_OUTPUT_LINES:])
    if finished.timed_out:
        raise BuildFailed(f"{doing} took longer than {timeout:g} s", output=output)
    if finished.code != 0:
        raise BuildFailed(f"{doing} failed", output=output)
    return finished


def _own_python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _python_request(version: str) -> str:
    """Major and minor of what was asked for; patch levels are the server's business."""
    if not version:
        return _own_python()
    if not (found := re.match(r"(3\.\d{1,2})(\.\d+)?\w*$", version)):
        raise BuildFailed(f"{version!r} is not a Python version: write it like 3.12")
    return found.group(1)


def _sdk_version() -> str:
    return importlib.metadata.version(_SDK)


def _pins(name: str) -> list[str]:
    """The dependencies of an installed distribution, at the versions that are installed here."""
    found: dict[str, str] = {}
    waiting = [name]
    while waiting:
        for line in importlib.metadata.requires(waiting.pop()) or []:
            wanted = re.match(r"[\w.-]+", line)
            if wanted is None or "extra ==" in line or wanted.group() in found:
                continue
            try:
                found[wanted.group()] = importlib.metadata.version(wanted.group())
            except importlib.metadata.PackageNotFoundError:
                continue  # for another platform or Python
            waiting.append(wanted.group())
    return [f"{dependency}=={version}" for dependency, version in sorted(found.items())]


def _tree_hash(folder: Path) -> str:
    """A hash of the sources of a package."""
    digest = hashlib.sha256()
    for path in sorted([folder / "pyproject.toml", *folder.glob("src/**/*")]):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(folder)}\0{path.stat().st_size}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()
