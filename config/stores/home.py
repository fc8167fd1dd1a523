"""The folder that holds everything of one installation: data, sockets, logs, locks."""

from __future__ import annotations

import fcntl
import hashlib
import os
import pwd
import tempfile
from pathlib import Path
from typing import IO

from config.stores.errors import StoreError

# The kernel's limit is 108 bytes with the closing zero, and 104 on macOS.
_LONGEST_SOCKET = 100
_LONGEST_NAME = len("/postgres/.s.PGSQL.5432")


class Home:
    """Where one installation keeps its files."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()

    @property
    def sockets(self) -> Path:
        """The folder of the Unix sockets: here, or a short one where this path is too long."""
        inside = self.path / "run"
        if len(os.fsencode(inside)) + _LONGEST_NAME <= _LONGEST_SOCKET:
            return inside
        digest = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"holdfast-{os.getuid()}-{digest}"

    def make(self) -> None:
        """Create the folders; the sockets' one is for us alone, whatever the umask."""
        self.path.mkdir(parents=True, exist_ok=True)
        for name in ("logs", "locks"):
            (self.path / name).mkdir(exist_ok=True)
        self.sockets.mkdir(parents=True, exist_ok=True)
        if self.sockets.stat().st_uid != os.getuid():
            raise StoreError(f"{self.sockets} belongs to somebody else: remove it and try again")
        self.sockets.chmod(0o711)  # entered by the account of PostgreSQL, listed by us alone

    def log(self, name: str) -> Path:
        return self.path / "logs" / f"{name}.log"

    def process_lock(self, name: str) -> Path:
        """The file that a supervised program holds while it lives."""
        return self.path / "locks" / name

    def is_locked(self, path: Path) -> bool:
        """Whether a living process holds this lock."""
        try:
            with path.open("r+") as handle:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def lock(self, name: str) -> IO[str]:
        """Hold this home until the file is closed; raises StoreError when another one does."""
        handle = (self.path / f"{name}.lock").open("a+")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            owner = handle.read().strip()
            handle.close()
            raise StoreError(
                f"Holdfast is running already in {self.path} (process {owner or 'unknown'}): "
                "stop that one first, or set HOLDFAST_HOME to another folder"
            ) from None
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        return handle


def server_account() -> tuple[int, int] | None:
    """Whom PostgreSQL runs as when we are root, which it refuses; else ourselves."""
    if os.getuid() != 0:
        return None
    entry = pwd.getpwnam("nobody")
    return entry.pw_uid, entry.pw_gid
