"""Machine presets: how much CPU and memory a run may use."""

from __future__ import annotations

from dataclasses import dataclass

_GIB = 1024**3


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A preset.

    Attributes:
        name: Its name in options and on the wire.
        cpu: Virtual CPUs.
        memory_bytes: The most memory that the run's process and its children may hold together.
    """

    name: str
    cpu: float
    memory_bytes: int

    @property
    def memory_gib(self) -> float:
        """Memory in GiB, as the wire contract counts it."""
        return self.memory_bytes / _GIB


def _machine(name: str, cpu: float, gib: float) -> Machine:
    return Machine(name=name, cpu=cpu, memory_bytes=int(gib * _GIB))


MACHINES: dict[str, Machine] = {
    machine.name: machine
    for machine in (
        _machine("micro", 0.25, 0.25),
        _machine("small-1x", 0.5, 0.5),
        _machine("small-2x", 1, 1),
        _machine("medium-1x", 1, 2),
        _machine("medium-2x", 2, 4),
        _machine("large-1x", 4, 8),
        _machine("large-2x", 8, 16),
    )
}
"""Every preset by name."""

DEFAULT_MACHINE = "small-1x"


def get_machine(name: str | None) -> Machine:
    """The preset of this name.

    Args:
        name: A preset; None or empty means `DEFAULT_MACHINE`.

    Raises:
        ValueError: There is no such preset; the text lists those that exist.
    """
    try:
        return MACHINES[name or DEFAULT_MACHINE]
    except KeyError:
        raise ValueError(
            f"unknown machine {name!r}; the presets are {', '.join(MACHINES)}"
        ) from None
