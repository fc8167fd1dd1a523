"""Run a command of the build: bounded in time and output, and nothing of it left behind."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

_CHUNK = 65_536
_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How a command ended; of each stream the last part is kept."""

    code: int
    stdout: str
    stderr: str
    timed_out: bool

    @property
    def output(self) -> str:
        return "\n".join(part for part in (self.stdout.strip(), self.stderr.strip()) if part)


@dataclass(slots=True)
class _Tail:
    """The last `keep` bytes of a stream."""

    keep: int
    data: bytearray = field(default_factory=bytearray)

    def add(self, chunk: bytes) -> None:
        self.data += chunk
        if len(self.data) > 2 * self.keep:
            del self.data[: -self.keep]

    def text(self) -> str:
        return bytes(self.data[-self.keep :]).decode(errors="replace")


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path,
    variables: Mapping[str, str],
    timeout: float,
    keep: int = 16 * 1024 * 1024,
) -> Finished:
    """Run to the end, or kill the whole group after `timeout` seconds."""
    process = subprocess.Popen(  # noqa: S603 -- a list, never a shell
        [str(part) for part in command],
        cwd=cwd,
        env=dict(variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    tails = {"stdout": _Tail(keep), "stderr": _Tail(keep)}
    with process:
        try:
            timed_out = not _collect(process, tails, deadline=time.monotonic() + timeout)
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
    return Finished(
        code=process.returncode,
        stdout=tails["stdout"].text(),
        stderr=tails["stderr"].text(),
        timed_out=timed_out,
    )


def _collect(
    process: subprocess.Popen[bytes], tails: Mapping[str, _Tail], *, deadline: float
) -> bool:
    """Read both streams until the command itself has ended; False when time ran out first."""
    with selectors.DefaultSelector() as selector:
        for name, tail in tails.items():
            selector.register(getattr(process, name), selectors.EVENT_READ, tail)
        # What it started may hold the pipes open for ever, so its own end is the end.
        while process.poll() is None:
            if time.monotonic() >= deadline:
                return False
            if not selector.get_map():
                time.sleep(_POLL_SECONDS)
            _read(selector, timeout=_POLL_SECONDS)
        while _read(selector, timeout=0) and time.monotonic() < deadline:
            pass
    return True


def _read(selector: selectors.BaseSelector, *, timeout: float) -> bool:
    """Take one chunk of each stream that has some; whether there was any."""
    ready = selector.select(timeout) if selector.get_map() else []
    for key, _ in ready:
        if chunk := os.read(key.fd, _CHUNK):
            key.data.add(chunk)
        else:
            selector.unregister(key.fileobj)
    return bool(ready)
