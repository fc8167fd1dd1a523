"""Unpack a customer's .tar.gz without trusting a byte of it.

Nothing is ever written outside the target: no entry is written through a link, and an archive that
holds a link out of it, a device, or more than it may, is refused as a whole.
"""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Self

from apps.providers.errors import ArchiveRefused

_CHUNK = 1024 * 1024
_HEADER_BYTES = 64 * 1024
_EXTENDED = {
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class UnpackLimits:
    """What one archive may unpack to."""

    entries: int = 50_000
    bytes: int = 2 * 1024 * 1024 * 1024
    name_length: int = 1024


class _Header(tarfile.TarInfo):
    """An entry whose extended headers are bounded: tarfile reads those into memory whole."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        header = super().frombuf(buf, encoding, errors)
        if header.type in _EXTENDED and header.size > _HEADER_BYTES:
            raise ArchiveRefused(f"an extended header of {header.size} bytes")
        return header


def unpack(stream: BinaryIO, target: Path, limits: UnpackLimits | None = None) -> None:
    """Unpack into a new folder `target`; raises ArchiveRefused, and then leaves nothing there."""
    target.mkdir(parents=True)
    try:
        with tarfile.open(fileobj=stream, mode="r|gz", tarinfo=_Header) as archive:
            _unpack_all(archive, target.resolve(), limits or UnpackLimits())
        _check_links(target.resolve())
    except BaseException as error:
        shutil.rmtree(target, ignore_errors=True)
        if isinstance(error, (tarfile.TarError, EOFError, OSError, ValueError)):
            raise ArchiveRefused(f"it is not a readable .tar.gz ({error})") from error
        raise


def _unpack_all(archive: tarfile.TarFile, target: Path, limits: UnpackLimits) -> None:
    size = 0
    for number, member in enumerate(archive, start=1):
        size += member.size
        if number > limits.entries:
            raise ArchiveRefused(f"more than {limits.entries:,} entries")
        if size > limits.bytes:
            raise ArchiveRefused(f"more than {limits.bytes:,} bytes when unpacked")
        path = _path_of(member, target, limits)
        if path != target:
            _write(archive, member, path, target)


def _path_of(member: tarfile.TarInfo, target: Path, limits: UnpackLimits) -> Path:
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts:
        raise ArchiveRefused(f"{member.name!r} leads out of it")
    if "\0" in member.name or len(member.name.encode()) > limits.name_length:
        raise ArchiveRefused(f"{member.name[:80]!r} is not a usable name")
    path = target.joinpath(*name.parts)
    for parent in path.relative_to(target).parents:
        if (target / parent).is_symlink():
            raise ArchiveRefused(f"{member.name!r} is written through a link")
    return path


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path, target: Path) -> None:
    if member.isdir():
        if path.is_symlink():
            raise ArchiveRefused(f"{member.name!r} is a link and a folder")
        path.mkdir(parents=True, exist_ok=True)
        return
    if os.path.lexists(path):
        raise ArchiveRefused(f"{member.name!r} is in it twice")
    path.parent.mkdir(parents=True, exist_ok=True)
    if member.issym():
        _write_symlink(member, path)
    elif member.islnk():
        _write_hard_link(member, path, target)
    elif member.isreg() and not member.issparse():
        _write_file(archive, member, path)
    else:
        raise ArchiveRefused(f"{member.name!r} is neither a file, a folder nor a link")


def _write_symlink(member: tarfile.TarInfo, path: Path) -> None:
    if PurePosixPath(member.linkname).is_absolute():
        raise ArchiveRefused(f"{member.name!r} links out of it, to {member.linkname!r}")
    path.symlink_to(member.linkname)


def _write_hard_link(member: tarfile.TarInfo, path: Path, target: Path) -> None:
    name = PurePosixPath(member.linkname)
    source = target.joinpath(*name.parts)
    is_inside = not name.is_absolute() and ".." not in name.parts
    if not is_inside or any((target / part).is_symlink() for part in _steps(name)):
        raise ArchiveRefused(f"{member.name!r} links out of it, to {member.linkname!r}")
    if not source.is_file():
        raise ArchiveRefused(f"{member.name!r} links to nothing, {member.linkname!r}")
    os.link(source, path)


def _steps(name: PurePosixPath) -> list[PurePosixPath]:
    return [name, *name.parents]


def _write_file(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    content = archive.extractfile(member)
    mode = stat.S_IRUSR | stat.S_IWUSR | (member.mode & stat.S_IXUSR)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "wb") as out:
        while content is not None and (chunk := content.read(_CHUNK)):
            out.write(chunk)


def _check_links(target: Path) -> None:
    """Links are followed for real only now, when all of them are there to be followed."""
    for folder, folders, files in os.walk(target):
        for name in (*folders, *files):
            path = Path(folder, name)
            if path.is_symlink() and not path.resolve().is_relative_to(target):
                raise ArchiveRefused(
                    f"{str(path.relative_to(target))!r} links out of it, to {os.readlink(path)!r}"
                )
