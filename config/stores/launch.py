"""Become another program that ends with its parent, under another account when asked.

    python launch.py PARENT_PID SIGNAL ACCOUNT COMMAND...

It replaces itself (no process stays between), and it is a program of its own because code between
fork and exec is unsafe in a parent that has threads. ACCOUNT is ``-`` or ``uid:gid``.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys

_SET_PDEATHSIG, _SET_KEEPCAPS, _AMBIENT, _AMBIENT_RAISE = 1, 8, 47, 2
_CAPABILITY_VERSION = 0x20080522
_CAP_DAC_OVERRIDE = 1

_libc = ctypes.CDLL(None, use_errno=True)


def main(arguments: list[str]) -> None:
    """Take the account, tie this process to its parent, and become the command."""
    parent, signal, account, *command = arguments
    if account != "-":
        uid, gid = (int(part) for part in account.split(":"))
        _become(uid, gid, _must_reach(command[0], uid, gid))
    if sys.platform == "linux":
        # After the change of account, which would clear it.
        _libc.prctl(_SET_PDEATHSIG, int(signal), 0, 0, 0)
    if os.getppid() != int(parent):
        sys.exit(1)  # the parent died before it could be tied to
    os.execvp(command[0], command)  # noqa: S606 -- becoming the command is the purpose


def _must_reach(program: str, uid: int, gid: int) -> bool:
    """Whether the account cannot reach its own program, as in a clone below /root."""
    os.setegid(gid)
    os.seteuid(uid)
    try:
        return not os.access(program, os.X_OK, effective_ids=True)
    finally:
        os.seteuid(0)
        os.setegid(0)


def _become(uid: int, gid: int, keep_reach: bool) -> None:
    os.setgroups([])
    os.setgid(gid)
    if keep_reach:
        _libc.prctl(_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setuid(uid)
    if keep_reach:
        _keep(_CAP_DAC_OVERRIDE)


def _keep(capability: int) -> None:
    """Carry one capability through exec, so that files below a closed folder stay reachable."""
    header = struct.pack("Ii", _CAPABILITY_VERSION, 0)
    bit = 1 << capability
    _libc.capset(header, struct.pack("6I", bit, bit, bit, 0, 0, 0))
    _libc.prctl(_AMBIENT, _AMBIENT_RAISE, capability, 0, 0)


if __name__ == "__main__":
    main(sys.argv[1:])
