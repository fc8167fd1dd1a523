"""A child process: started tied to its parent, waited for, and stopped with all it started."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from config.stores.errors import StoreError, left_full
from config.stores.home import Home

_LAUNCH = Path(__file__).with_name("launch.py")
_TAIL_BYTES = 16_384
_LOG_BYTES = 10 * 1024 * 1024
_FROM_OUTSIDE = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}


def nothing() -> None:
    """Prepare nothing."""


def at_once() -> bool:
    """Count as ready from the start."""
    return True


def no_diagnosis(log: str) -> str | None:
    """Recognise no particular failure."""
    return None


def python_path(root: Path) -> str:
    """The PYTHONPATH of a program that imports what is below `root`, wherever it is started."""
    return os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))


def launched(
    command: Sequence[str],
    lost_parent: int,
    account: tuple[int, int] | None = None,
    lock: Path | None = None,
) -> list[str]:
    """The command that runs `command` tied to this process; `lost_parent` is the signal.

    Give the one of an orderly stop, so that data stays whole.
    """
    launch = [sys.executable, "-S", "-E", str(_LAUNCH), str(os.getpid()), str(int(lost_parent))]
    identity = "-" if account is None else "{}:{}".format(*account)
    return [*launch, identity, str(lock or "-"), *command]


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
    after: tuple[str, ...] = ()  # names of those that must be ready before
    runs_once: bool = False  # its end is its success
    is_optional: bool = False  # nothing waits for it, and its first failure ends nothing
    is_store: bool = False  # stopped after all that uses it; cannot be done without at start


class Child:
    """One running instance of a program, the leader of its own process group."""

    def __init__(
        self, program: Program, home: Home, extra: Mapping[str, str] | None = None
    ) -> None:
        self.program = program
        self.log = home.log(program.name)
        self._lock = home.process_lock(program.name)
        self._environment = {**program.environment, **(extra or {})}
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
        return subprocess.Popen(  # noqa: S603 -- our own programs
            launched(program.command, program.stop_signal, program.account, self._lock),
            env={**os.environ, **self._environment},
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
        code = self.exit_code or 0
        if -code in _FROM_OUTSIDE:  # then its log ends before its end
            return f"{self.program.name} was killed by {signal.Signals(-code).name}"
        tail = self.tail()
        if diagnosis := self.program.diagnose(tail):
            return diagnosis
        if code < 0:
            return f"{self.program.name} was killed by {signal.Signals(-code).name}"
        if full := left_full(self.log.parent):
            return full
        latest = tail.strip().splitlines()[-1:] or ["it said nothing"]
        ended = f"{self.program.name} ended with exit code {code}"
        return f"{ended}: {latest[0].strip()} (its log is {self.log})"

    def tail(self) -> str:
        """The end of what this instance has logged."""
        try:
            with self.log.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(min(self._log_start, size), size - _TAIL_BYTES))
                return log.read().decode(errors="replace")
        except OSError:
            return ""

    def bound_log(self) -> None:
        """Keep the log and one older part of it; the child goes on writing to the same file."""
        try:
            if self.log.stat().st_size < _LOG_BYTES:
                return
            shutil.copyfile(self.log, self.log.with_suffix(".log.1"))
            os.truncate(self.log, 0)  # it was opened to append, so it goes on from there
        except OSError:
            return  # a full disk must not end the supervision

    def ask_to_stop(self) -> None:
        """Send the signal of an orderly end."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(self.program.stop_signal)

    def stop(self) -> None:
        """Ask it to end, wait as long as it may take, then kill what is left of its group."""
        self.ask_to_stop()
        self.finish()

    def finish(self) -> None:
        """Wait for the end that was asked for, then kill what is left of its group."""
        if self._process is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(self.program.grace_seconds)
        self.kill()

    def kill(self) -> None:
        """Kill the whole group at once."""
        self.signal_group(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def signal_group(self, number: int) -> None:
        """Send a signal to it and to what it started in its group; safe from any thread."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)
