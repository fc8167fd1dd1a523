"""The archive that is deployed: a project's files as a .tar.gz, the same bytes for the same files.

Times, owners and the order of folders do not enter it. The content hash is made from names, modes
and contents alone, so that it does not depend on the compressor either.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import stat
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from holdfast.errors import HoldfastError
from holdfast.project import Project

MAX_BYTES = 256 * 1024 * 1024

DEFAULT_IGNORE = (
    ".git/",
    ".hg/",
    ".svn/",
    ".venv/",
    "venv/",
    "node_modules/",
    "__pycache__/",
    "*.py[co]",
    ".mypy_cache/",
    ".pytest_cache/",
    ".ruff_cache/",
    ".tox/",
    ".nox/",
    ".idea/",
    ".vscode/",
    ".DS_Store",
    "*.egg-info/",
    "/build/",
    "/dist/",
    ".holdfast/",
    ".env",
    ".env.*",
)
"""Never deployed unless a pattern like ``!.env.example`` says otherwise."""


class ArchiveError(HoldfastError):
    """The project cannot be packed; the text says which file is in the way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file, or a link to another file of the project."""

    name: str
    path: Path
    mode: int
    link: str | None = None


@dataclass(frozen=True, kw_only=True)
class Archive:
    """A packed project."""

    content: bytes
    content_hash: str
    names: tuple[str, ...]

    @cached_property
    def size(self) -> int:
        """Its length in bytes."""
        return len(self.content)


class Ignore:
    """Patterns in the syntax of ``.gitignore``; the last one that matches decides."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._rules = [rule for rule in map(_rule, patterns) if rule is not None]

    def matches(self, name: str, *, is_folder: bool) -> bool:
        """Whether the file or folder of this name, relative to the project, is left out."""
        ignored = False
        for rule in self._rules:
            if (is_folder or not rule.is_folder_only) and rule.regex.fullmatch(name):
                ignored = not rule.is_negated
        return ignored


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    regex: re.Pattern[str]
    is_negated: bool
    is_folder_only: bool


def build(project: Project) -> Archive:
    """Pack a project; raises ArchiveError."""
    entries = list(list_entries(project))
    digest = hashlib.sha256()
    buffer = io.BytesIO()
    # The header of gzip holds a time; 0 keeps the bytes the same.
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0, compresslevel=6) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for entry in entries:
            _add(tar, digest, entry)
    content = buffer.getvalue()
    if len(content) > MAX_BYTES:
        raise ArchiveError(
            f"The archive has {len(content) / 1024**2:,.0f} MiB, and may have "
            f"{MAX_BYTES // 1024**2}: name what tasks do not need under `ignore` in holdfast.toml."
        )
    return Archive(
        content=content,
        content_hash=digest.hexdigest(),
        names=tuple(entry.name for entry in entries),
    )


def content_hash(project: Project) -> str:
    """The hash that the archive of this project would have; raises ArchiveError."""
    digest = hashlib.sha256()
    for entry in list_entries(project):
        _digest(digest, entry, b"" if entry.link is not None else _read(entry))
    return digest.hexdigest()


def list_entries(project: Project) -> Iterator[Entry]:
    """What goes into the archive, in the order of the names; raises ArchiveError."""
    ignore = Ignore((*DEFAULT_IGNORE, *project.ignore))
    root = project.root.resolve()
    yield from _walk(root, root, ignore)


def _walk(root: Path, folder: Path, ignore: Ignore) -> Iterator[Entry]:
    try:
        children = sorted(os.scandir(folder), key=lambda child: child.name)
    except OSError as error:
        raise ArchiveError(f"{folder} cannot be read: {error.strerror}") from None
    for child in children:
        path = Path(child.path)
        name = path.relative_to(root).as_posix()
        is_folder = child.is_dir(follow_symlinks=False)
        if ignore.matches(name, is_folder=is_folder):
            continue
        if is_folder:
            if not (path / "pyvenv.cfg").exists():  # a virtual environment, whatever its name
                yield from _walk(root, path, ignore)
        elif child.is_symlink():
            yield _link(root, path, name)
        elif child.is_file(follow_symlinks=False):
            is_executable = child.stat(follow_symlinks=False).st_mode & stat.S_IXUSR
            yield Entry(name=name, path=path, mode=0o755 if is_executable else 0o644)


def _link(root: Path, path: Path, name: str) -> Entry:
    target = path.resolve()
    if not target.is_relative_to(root):
        raise ArchiveError(
            f"{name} links out of the project, to {target}: copy the file, or ignore the link."
        )
    if not target.exists():
        raise ArchiveError(f"{name} links to {target.relative_to(root)}, which is not there.")
    return Entry(name=name, path=path, mode=0o777, link=os.path.relpath(target, path.parent))


def _add(tar: tarfile.TarFile, digest: hashlib._Hash, entry: Entry) -> None:
    info = tarfile.TarInfo(entry.name)
    info.mode = entry.mode
    if entry.link is not None:
        info.type, info.linkname = tarfile.SYMTYPE, entry.link
        _digest(digest, entry, b"")
        tar.addfile(info)
        return
    content = _read(entry)
    info.size = len(content)
    _digest(digest, entry, content)
    tar.addfile(info, io.BytesIO(content))


def _read(entry: Entry) -> bytes:
    try:
        return entry.path.read_bytes()
    except OSError as error:
        raise ArchiveError(f"{entry.name} cannot be read: {error.strerror}") from None


def _digest(digest: hashlib._Hash, entry: Entry, content: bytes) -> None:
    """Lengths go before what they measure, so that no two projects give the same bytes."""
    for part in (entry.name.encode(), f"{entry.mode:o}".encode(), (entry.link or "").encode()):
        digest.update(f"{len(part)}:".encode() + part)
    digest.update(f"{len(content)}:".encode())
    digest.update(content)


def _rule(line: str) -> _Rule | None:
    pattern = line.strip()
    if not pattern or pattern.startswith("#"):
        return None
    is_negated = pattern.startswith("!")
    pattern = pattern.removeprefix("!").removeprefix("\\")
    is_folder_only = pattern.endswith("/")
    pattern = pattern.rstrip("/")
    is_anchored = "/" in pattern
    body = _regex(pattern.removeprefix("/"))
    prefix = "" if is_anchored else "(?:.*/)?"
    return _Rule(
        regex=re.compile(prefix + body, re.DOTALL),
        is_negated=is_negated,
        is_folder_only=is_folder_only,
    )


_TOKEN = re.compile(r"\*\*/|/\*\*$|\*\*|\*|\?|\[!?[^\]]+\]|.", re.DOTALL)
_WILDCARDS = {"**/": "(?:.*/)?", "/**": "/.*", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def _regex(pattern: str) -> str:
    parts = []
    for token in _TOKEN.findall(pattern):
        if token in _WILDCARDS:
            parts.append(_WILDCARDS[token])
        elif len(token) > 1:
            parts.append(token.replace("[!", "[^"))
        else:
            parts.append(re.escape(token))
    return "".join(parts)
