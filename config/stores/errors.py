"""What can keep a store from running, said in one sentence that a person can act on."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

_FULL = "No space left on device"


class StoreError(Exception):
    """A store cannot start or go on; the message is one clear sentence."""


def full_disk(log: str, folder: Path) -> str | None:
    """The sentence for a full disk, when that is what a log tells of."""
    if _FULL in log or "NOT_ENOUGH_SPACE" in log:
        return f"The disk is full: make room in the file system of {folder} and start again"
    return None


def left_full(folder: Path) -> str | None:
    """The sentence for a disk so full that not even the log could say so."""
    return full_disk(_FULL, folder) if shutil.disk_usage(folder).free == 0 else None


def from_os(error: OSError, folder: Path) -> StoreError:
    """The sentence for what the operating system refused."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return StoreError(full_disk(_FULL, folder))
    return StoreError(f"Cannot use {error.filename or folder}: {error.strerror}")
