"""Duties that apps above the engine add to it; the composition root installs them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

Duty = Callable[[datetime], int]
Look = Callable[[datetime], Mapping[str, bool]]
"""Says of duties, by their names, whether they have something to do."""

_fast: list[Duty] = []
_slow: list[Duty] = []
_looks: list[Look] = []


def install(*, fast: Iterable[Duty], slow: Iterable[Duty], looks: Iterable[Look]) -> None:
    """Set which duties the engine has beside its own; called once."""
    _fast[:], _slow[:], _looks[:] = fast, slow, looks


def fast() -> tuple[Duty, ...]:
    """Those of every tick."""
    return tuple(_fast)


def slow() -> tuple[Duty, ...]:
    """Those of about every tenth tick."""
    return tuple(_slow)


def looks() -> tuple[Look, ...]:
    """What is asked before those of every tick."""
    return tuple(_looks)
