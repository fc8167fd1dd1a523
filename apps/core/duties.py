"""Duties that apps above the engine add to it; the composition root installs them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

Duty = Callable[[datetime], int]

_fast: list[Duty] = []
_slow: list[Duty] = []


def install(*, fast: Iterable[Duty], slow: Iterable[Duty]) -> None:
    """Set which duties the engine has beside its own; called once."""
    _fast[:], _slow[:] = fast, slow


def fast() -> tuple[Duty, ...]:
    """Those of every tick."""
    return tuple(_fast)


def slow() -> tuple[Duty, ...]:
    """Those of about every tenth tick."""
    return tuple(_slow)
