"""Become another program that ends with its parent, under another account when asked.

    python launch.py PARENT_PID SIGNAL ACCOUNT LOCK COMMAND...

It replaces itself (no process stays between), and it is a program of its own because code between
fork and exec is unsafe in a parent that has threads. ACCOUNT is ``-`` or ``uid:gid``. LOCK is
``-`` or a file that the program, and all that it forks, holds until the last of them is gone:
whoever is started in its place waits for that.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import sys
import time

_SET_PDEATHSIG, _SET_SECUREBITS, _AMBIENT, _AMBIENT_RAISE = 1, 28, 47, 2
_NO_SETUID_FIXUP = 1 << 2
_CAPABILITY_VERSION = 0x20080522
_CAP_DAC_OVERRIDE = 1
_PATIENCE_SECONDS = 40.0  # a little more than the most patient program's grace

_libc = ctypes.CDLL(None, use_errno=True)


def main(arguments: list[str]) -> None:
    """Take the account, tie this process to its parent, and become the command."""
    parent, signal, account, lock, *command = arguments
    if lock != "-":
        _hold(lock)
    if account != "-":
        uid, gid = (int(part) for part in account.split(":"))
        _become(uid, gid, _is_shut_out(command, uid, gid))
    if sys.platform == "linux":
        # After the change of account, which would clear it.
        _libc.prctl(_SET_PDEATHSIG, int(signal), 0, 0, 0)
    if os.getppid() != int(parent):
        sys.exit(1)  # the parent died before it could be tied to
    os.execvp(command[0], command)  # noqa: S606 -- becoming the command is the purpose


def _hold(lock: str) -> None:
    """Wait for the former holder, and leave the lock to the program."""
    fd = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > deadline:
                sys.exit(f"its former process still runs (it holds {lock})")
            time.sleep(0.02)
    os.set_inheritable(fd, True)


def _is_shut_out(command: list[str], uid: int, gid: int) -> bool:
    """Whether the account cannot reach the program or its files, as in a clone below /root."""
    os.setegid(gid)
    os.seteuid(uid)
    try:
        paths = [part for part in command if part.startswith("/")]
        return not all(os.access(path, os.R_OK, effective_ids=True) for path in paths)
    finally:
        os.seteuid(0)
        os.setegid(0)


def _become(uid: int, gid: int, keep_reach: bool) -> None:
    os.setgroups([])
    os.setgid(gid)
    if keep_reach:
        # Capabilities outlive the change of account; access(2), by which initdb looks for its
        # sister programs, honours them only then.
        _libc.prctl(_SET_SECUREBITS, _NO_SETUID_FIXUP, 0, 0, 0)
    os.setuid(uid)
    if keep_reach:
        _keep(_CAP_DAC_OVERRIDE)


def _keep(capability: int) -> None:
    """Keep this capability alone, through exec: files below a closed folder stay reachable."""
    header = struct.pack("Ii", _CAPABILITY_VERSION, 0)
    bit = 1 << capability
    _libc.capset(header, struct.pack("6I", bit, bit, bit, 0, 0, 0))
    _libc.prctl(_AMBIENT, _AMBIENT_RAISE, capability, 0, 0)


if __name__ == "__main__":
    main(sys.argv[1:])
