"""Real processes for tests: short programs, and waiting for what they do."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from config.stores.process import Program

FOREVER = "import time; time.sleep(600)"


def python(code: str, *, name: str = "sample", **options: Any) -> Program:
    """A program of a few lines."""
    return Program(name=name, command=(sys.executable, "-c", code), **options)


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Watch another process until the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
