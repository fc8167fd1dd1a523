"""Installed distributions: what they say about themselves, and whether their files agree."""

from __future__ import annotations

import base64
import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackagePath, PathDistribution, distributions
from pathlib import Path

_CHUNK = 1024 * 1024
_LONGEST_LICENCE = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was found out about one distribution; `bytes` is what its hashed files hold."""

    name: str
    version: str
    files: int
    bytes: int
    licence: str
    mismatches: list[str]


def installed(paths: list[str]) -> Iterator[tuple[str, Path]]:
    """Name and metadata folder of each distribution below these folders, once each, by name."""
    found: dict[Path, str] = {}
    for distribution in distributions(path=paths):
        folder = metadata_folder(distribution)
        if folder is not None and (folder / "RECORD").is_file():
            found.setdefault(folder, distribution.metadata["Name"])
    yield from sorted(((name, folder) for folder, name in found.items()), key=_by_name)


def _by_name(item: tuple[str, Path]) -> tuple[str, Path]:
    return item[0].lower(), item[1]


def metadata_folder(distribution: Distribution) -> Path | None:
    """The ``.dist-info`` folder; None for one that is a single file, as old tools left them."""
    folder = getattr(distribution, "_path", None)  # there is no public way to ask
    return Path(folder) if folder is not None and Path(folder).is_dir() else None


def verify(folder: Path) -> Verdict:
    """Hash every file that RECORD has a hash of, and compare."""
    distribution = PathDistribution(folder)
    files = recorded(distribution)
    return Verdict(
        name=distribution.metadata["Name"],
        version=distribution.version,
        files=len(files),
        bytes=sum(_size(file) for file in files),
        licence=licence(distribution),
        mismatches=[str(file) for file in files if not _agrees(file)],
    )


def recorded(distribution: Distribution) -> list[PackagePath]:
    """The files that RECORD has a hash of; its own line and compiled files have none."""
    return [file for file in distribution.files or [] if file.hash is not None]


def _size(file: PackagePath) -> int:
    path = Path(str(file.locate()))
    return path.stat().st_size if path.is_file() else 0


def _agrees(file: PackagePath) -> bool:
    path = Path(str(file.locate()))
    if file.hash is None or not path.is_file():
        return False
    digest = hashlib.new(file.hash.mode)
    with path.open("rb") as content:
        while chunk := content.read(_CHUNK):
            digest.update(chunk)
    found = base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode()
    return found == file.hash.value


def licence(distribution: Distribution) -> str:
    """What a distribution says its licence is, in the shortest of the ways there are."""
    metadata = distribution.metadata
    if expression := metadata["License-Expression"]:
        return str(expression)
    for classifier in metadata.get_all("Classifier") or []:
        kind, _, name = classifier.rpartition(" :: ")
        if kind.startswith("License") and name != "OSI Approved":
            return str(name)
    text = str(metadata["License"] or "").strip()
    return text if 0 < len(text) <= _LONGEST_LICENCE and "\n" not in text else "not said"


def tampered_copy(paths: list[str], target: Path) -> Path:
    """Copy a small distribution with Python code to `target` and change one of its files.

    Returns its metadata folder there.
    """
    folder, files = next(
        (folder, files)
        for folder in sorted((folder for _, folder in installed(paths)), key=_weight)
        if len(files := _inside(recorded(PathDistribution(folder)))) > 1
        and any(file.suffix == ".py" and _size(file) for file in files)
    )
    for file in files:
        copy = target / file
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(str(file.locate()), copy)
    shutil.copyfile(folder / "RECORD", target / folder.name / "RECORD")
    victim = target / max((f for f in files if f.suffix == ".py"), key=_size)
    victim.write_bytes(victim.read_bytes() + b"\n# this line was not published\n")
    _forget_outside(target / folder.name / "RECORD")
    return target / folder.name


def _weight(folder: Path) -> tuple[int, str]:
    """The fewer files, the shorter the RECORD: no need to look at each of them."""
    return (folder / "RECORD").stat().st_size, folder.name


def _inside(files: list[PackagePath]) -> list[PackagePath]:
    return [file for file in files if ".." not in file.parts]


def _forget_outside(record: Path) -> None:
    """Drop the lines of what is not copied: scripts outside of the folder."""
    lines = record.read_text().splitlines(keepends=True)
    record.write_text("".join(line for line in lines if not line.startswith("..")))
