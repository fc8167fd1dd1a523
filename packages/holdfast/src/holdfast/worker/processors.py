"""Holds executing runs to the CPUs of their machines.

The kernel's own quotas (`cgroups`) need privileges that a worker seldom has, so whole CPUs are
counted: a run whose processes use more than its machine has is confined to that many, and goes on
there. Others are left to the scheduler, which places a run of one busy thread better than anybody.
Under a quota no run uses more, and so none is confined.
"""

from __future__ import annotations

import math

from holdfast.machines import Machine
from holdfast.worker import linux

_TOLERANCE = 1.1
"""How much more than its CPUs a run may seem to use: ticks are coarse."""


class CpuWatch:
    """What one run uses, and whether it is confined.

    Args:
        pid: Its task process.
        machine: Its machine; a part of a CPU counts as a whole one.
    """

    def __init__(self, pid: int, machine: Machine) -> None:
        self.is_confined = False
        self._pid = pid
        self._allowed = math.ceil(machine.cpu)
        self._latest: tuple[float, float] | None = None

    def look(self, now: float, *, most_processes: int) -> None:
        """Measure since the latest look, and confine a run that used too much."""
        available = linux.usable_cpus()
        if self._allowed >= len(available):
            return
        family = [self._pid, *linux.descendants_of(self._pid, most=most_processes)]
        used = sum(linux.cpu_seconds(member) for member in family)
        before, self._latest = self._latest, (now, used)
        if before is not None and not self.is_confined:
            limit = self._allowed * (now - before[0]) * _TOLERANCE
            self.is_confined = used - before[1] > limit
        if self.is_confined:  # each time: what was started meanwhile may have escaped
            first = self._pid % len(available)
            chosen = {available[(first + n) % len(available)] for n in range(self._allowed)}
            linux.confine(family, chosen)

    def release(self) -> None:
        """Let the process use every CPU again: it goes to another run."""
        if self.is_confined:
            linux.confine([self._pid], set(linux.usable_cpus()))
            self.is_confined = False
