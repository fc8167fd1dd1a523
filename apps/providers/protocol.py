"""What every provider of workers does: the contract that tests/providers/contract.py holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import BinaryIO, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A customer's build: the archive that was shipped, named by its content."""

    key: str  # the archive's SHA-256, so that equal archives are unpacked once
    open: Callable[[], BinaryIO] = field(compare=False)
    python_version: str = ""  # "" is the server's own


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSpec:
    """One worker that ought to exist."""

    instance: str  # starting the same instance twice is one worker
    bundle: Bundle
    machine: str
    variables: Mapping[str, str]
    command: tuple[str, ...] = ("-m", "holdfast.worker")  # arguments of the version's Python


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A worker as its provider sees it; one that ended is listed until it is forgotten."""

    reference: str
    instance: str
    is_alive: bool
    started_at: datetime
    pid: int | None = None
    exit_code: int | None = None
    reason: str = ""  # in words, once it has ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a provider can do beyond starting and stopping."""

    checkpoint: bool = False
    memory_limits: bool = False
    network_isolation: bool = False


class Provider(Protocol):
    """Adapters raise ProviderError, and nothing else, for what went wrong on their side."""

    capabilities: Capabilities

    def start(self, spec: WorkerSpec) -> str:
        """Start a worker and return its reference; for a live or ended instance, do nothing."""
        ...

    def stop(self, reference: str, *, grace: timedelta) -> None:
        """Ask a worker to finish what it holds, and kill it once it was asked `grace` ago.

        Returns at once: the caller repeats it until `list` shows the end. An unknown reference
        is nothing to do.
        """
        ...

    def list(self) -> Sequence[Observed]:
        """Every worker that is alive, and every ended one that was not forgotten."""
        ...

    def forget(self, reference: str) -> None:
        """The end of this worker is recorded: what is left of it may go."""
        ...

    def checkpoint(self, reference: str, *, image: str) -> None:
        """Freeze a worker into a named image and stop it; raises Unsupported.

        The worker has closed its connections. One that is frozen already stays so.
        """
        ...

    def restore(self, spec: WorkerSpec, *, image: str) -> str:
        """Start a worker from an image; raises Unsupported.

        Repeated for an instance that was restored already, it does nothing. The frozen process
        goes on where it was: its variables are those of the instance it was frozen as.
        """
        ...

    def discard(self, image: str) -> None:
        """Remove an image; one that does not exist is nothing to do."""
        ...
