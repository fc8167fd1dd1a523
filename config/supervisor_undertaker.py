"""Ends whatever a supervisor leaves behind, even when the supervisor itself was killed.

    python supervisor_undertaker.py TOKEN GRACE_SECONDS   (standard input: a pipe of the supervisor)

Children are tied to the supervisor by the kernel, but not the children's children: workers that
a provider started, for instance. All of them carry the supervisor's token in their environment,
so when the pipe closes this process finds them by it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

TOKEN_VARIABLE = "HOLDFAST_SUPERVISOR"  # noqa: S105 -- the name of a variable
_COURTESY_SECONDS = 2.0
_GRACE_SECONDS = 35.0  # a little more than the most patient program's


class Undertaker:
    """The process that waits for the supervisor's end."""

    def __init__(self) -> None:
        self.token = secrets.token_hex(8)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Launch it, and mark every process that is started from now on."""
        bare = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        self._process = subprocess.Popen(  # noqa: S603 -- our own program
            [sys.executable, "-S", "-E", __file__, self.token, f"{_GRACE_SECONDS:g}"],
            env=bare,
            stdin=subprocess.PIPE,
            start_new_session=True,
            cwd="/",
        )

    def ask_strays(self, groups: set[int]) -> None:
        """Ask those to end that are in none of these process groups: children's children.

        They are given a moment in which the server is still there to hear their last words: a
        worker that finds it gone goes on trying for seconds.
        """
        asked = set()
        for pid in marked(self.token):
            with contextlib.suppress(OSError):
                if os.getpgid(pid) not in groups:
                    os.kill(pid, signal.SIGTERM)
                    asked.add(pid)
        deadline = time.monotonic() + _COURTESY_SECONDS
        while asked.intersection(marked(self.token)) and time.monotonic() < deadline:
            time.sleep(0.05)

    def stop(self) -> None:
        """Sweep now, and let the process go."""
        for pid in marked(self.token):
            _signal(pid, signal.SIGTERM)
        deadline = time.monotonic() + 5
        while marked(self.token) and time.monotonic() < deadline:
            time.sleep(0.05)
        for pid in marked(self.token):
            _signal(pid, signal.SIGKILL)
        if self._process is not None:
            self._process.kill()
            self._process.communicate()


def marked(token: str) -> list[int]:
    """The processes that carry this token in their environment."""
    needle = f"{TOKEN_VARIABLE}={token}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            variables = (entry / "environ").read_bytes().split(b"\0")
            if needle in variables and int(entry.name) != os.getpid():
                found.append(int(entry.name))
    return found


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(OSError):
        os.kill(pid, number)


def _main(token: str, grace_seconds: float) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()  # until the supervisor is gone
    deadline = time.monotonic() + grace_seconds
    asked: set[int] = set()
    while pids := set(marked(token)):
        for pid in pids - asked:
            _signal(pid, signal.SIGTERM)
        asked |= pids
        if time.monotonic() > deadline:
            for pid in pids:
                _signal(pid, signal.SIGKILL)
        time.sleep(0.2)


if __name__ == "__main__":
    _main(sys.argv[1], float(sys.argv[2]))
