"""Errors of runs, attempts and steps as people read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from apps.dashboard.tracebacks import Frame, frames


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """An error as people read it."""

    name: str
    message: str
    trace: str
    frames: Sequence[Frame]

    @property
    def has_own_frames(self) -> bool:
        return any(not frame.is_library for frame in self.frames)


def fault_of(error: dict[str, Any] | None) -> Fault | None:
    """An error as its run or attempt keeps it."""
    if error is None:
        return None
    trace = str(error.get("stackTrace") or "")
    return Fault(
        name=str(error.get("name") or error.get("code") or "Error"),
        message=str(error.get("message") or error.get("raw") or ""),
        trace=trace,
        frames=frames(trace),
    )
