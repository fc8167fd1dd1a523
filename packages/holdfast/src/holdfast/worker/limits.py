"""Watches what executing runs use, and says which are over their limits.

It reads /proc from outside, so it works without privileges and whatever the run does. Short runs
cost nothing: a process is looked at only when its run is older than one interval.
"""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.machines import Machine
from holdfast.worker import endings, linux

INTERVAL_SECONDS = 0.1
"""How often processes are looked at."""

MAX_PROCESSES = 256
"""How many processes a run may have below its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a process and its descendants use: their number and their memory in bytes."""

    processes: int
    memory_bytes: int


def exceeded(pid: int, machine: Machine) -> endings.Verdict | None:
    """The verdict on a run that is over a limit, or None.

    Args:
        pid: Its task process.
        machine: Its machine.
    """
    descendants = linux.descendants_of(pid, most=MAX_PROCESSES * 2)
    if len(descendants) > MAX_PROCESSES:
        return endings.too_many_processes(len(descendants), MAX_PROCESSES)
    family = (pid, *descendants)
    if sum(linux.resident_bytes(member) for member in family) <= machine.memory_bytes:
        return None  # counts shared pages several times: enough only to acquit
    used = sum(linux.own_bytes(member) for member in family)
    if used <= machine.memory_bytes:
        return None
    return endings.over_memory(used, machine.memory_bytes, machine.name)
