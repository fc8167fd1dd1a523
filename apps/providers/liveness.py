"""Which process is which: a process id alone may by now belong to somebody else."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from functools import cache
from pathlib import Path

_PROC = Path("/proc")
_GONE = (FileNotFoundError, ProcessLookupError, PermissionError)


def identity(pid: int) -> str | None:
    """What tells this process from every other that had or will have its id; None if it ended."""
    return _identity_by_proc(pid) if (_PROC / "self" / "stat").exists() else _identity_by_ps(pid)


def is_same(pid: int, wanted: str) -> bool:
    """Whether the process of this id is still the one that had this identity."""
    return identity(pid) == wanted


def members(mark: str) -> list[int]:
    """The processes that were started with `mark` (``NAME=value``) in their environment."""
    wanted = mark.encode()
    found = []
    for entry in _PROC.iterdir() if _PROC.is_dir() else ():
        if not entry.name.isdecimal():
            continue
        with suppress(*_GONE):
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


def send(pid: int, wanted: str, what: signal.Signals) -> None:
    """Signal this process if it is still the one that had this identity."""
    with suppress(*_GONE):
        if is_same(pid, wanted):
            os.kill(pid, what)


def kill_group(leader: int, wanted: str) -> None:
    """Kill the leader's whole group, while the leader is there to prove that it is the group."""
    with suppress(*_GONE):
        if is_same(leader, wanted):
            os.killpg(leader, signal.SIGKILL)


def kill_members(mark: str) -> None:
    """Kill every process that was started with this mark, in whatever group it is by now."""
    for pid in members(mark):
        with suppress(*_GONE):
            os.kill(pid, signal.SIGKILL)


def _identity_by_proc(pid: int) -> str | None:
    try:
        # The name in brackets may hold anything, brackets and blanks too.
        state, *numbers = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except _GONE:
        return None
    return None if state in {"Z", "X"} else f"{_boot()}:{numbers[18]}"


@cache
def _boot() -> str:
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


def _identity_by_ps(pid: int) -> str | None:
    command = ["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    state, _, started = found.stdout.strip().partition(" ")
    return started.strip() or None if not state.startswith("Z") else None
