"""A child process: started tied to its parent, waited for, and stopped with all it started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from config.stores.errors import StoreError

_LAUNCH = Path(__file__).with_name("launch.py")
_TAIL_BYTES = 16_384


def nothing() -> None:
    """Prepare nothing."""


def at_once() -> bool:
    """Count as ready from the start."""
    return True


def no_diagnosis(log: str) -> str | None:
    """Recognise no particular failure."""
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to run, how to know that it is ready, and how to stop it."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    account: tuple[int, int] | None = None  # uid and gid to run under, instead of ours
    stop_signal: int = signal.SIGTERM
    grace_seconds: float = 10.0
    ready_seconds: float = 60.0
    prepare: Callable[[], None] = nothing
    is_ready: Callable[[], bool] = at_once
    provision: Callable[[], None] = nothing
    diagnose: Callable[[str], str | None] = no_diagnosis
    inherited: tuple[int, ...] = ()  # open file descriptors that the program gets


class Child:
    """One running instance of a program, the leader of its own process group."""

    def __init__(self, program: Program, log: Path) -> None:
        self.program = program
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs or before it started."""
        return self._process.poll() if self._process else None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Prepare and launch; from a thread that lives on, since the child dies with it."""
        self.program.prepare()
        with self.log.open("ab") as out:
            self._log_start = out.tell()
            self._process = self._launch(out)

    def _launch(self, out: IO[bytes]) -> subprocess.Popen[bytes]:
        program = self.program
        account = "-" if program.account is None else "{}:{}".format(*program.account)
        # The signal of a lost parent is the one of an orderly stop: data stays whole.
        launch = [sys.executable, "-S", "-E", str(_LAUNCH)]
        tie = [str(os.getpid()), str(int(program.stop_signal)), account]
        return subprocess.Popen(  # noqa: S603 -- our own programs
            [*launch, *tie, *program.command],
            env={**os.environ, **program.environment},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            pass_fds=program.inherited,
            cwd="/" if program.account else None,
        )

    def wait_ready(self, *, interval: float = 0.02) -> None:
        """Block until it is ready, then provision; raises StoreError when it ends or is late."""
        deadline = time.monotonic() + self.program.ready_seconds
        while not self.program.is_ready():
            if not self.is_running:
                raise StoreError(self.failure())
            if time.monotonic() > deadline:
                seconds = f"{self.program.ready_seconds:g}"
                raise StoreError(
                    f"{self.program.name} is not ready after {seconds} s; its log is {self.log}"
                )
            time.sleep(interval)
        self.program.provision()

    def failure(self) -> str:
        """Why it ended, in one sentence."""
        tail = self.tail()
        if diagnosis := self.program.diagnose(tail):
            return diagnosis
        latest = tail.strip().splitlines()[-1:] or ["it said nothing"]
        ending = _ending(self.exit_code)
        return f"{self.program.name} {ending}: {latest[0]} (its log is {self.log})"

    def tail(self) -> str:
        """The end of what this instance has logged."""
        try:
            with self.log.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(min(self._log_start, size), size - _TAIL_BYTES))
                return log.read().decode(errors="replace")
        except OSError:
            return ""

    def stop(self) -> None:
        """Ask it to end, then kill what is left of its group."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(self.program.stop_signal)
            try:
                self._process.wait(self.program.grace_seconds)
            except subprocess.TimeoutExpired:
                self.kill()
        self.kill()

    def kill(self) -> None:
        """Kill the whole group at once."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
