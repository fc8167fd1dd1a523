"""How a worker is set up, and what it tells people while it works."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """How a worker is set up.

    Attributes:
        root: The project's folder, with its ``holdfast.toml``.
        api_url: The server's address.
        secret_key: The environment's secret key.
        version: The number of the version that this code is.
        capacity: How many runs execute at once.
        pool: The pool that the worker belongs to.
        machine: The machine preset that it runs on, when it is for one preset only.
        instance: The provider's name for it.
        labels: Free labels.
        drain_seconds: How long a drain may take before what still runs is stopped; None: for ever.
        echo: Whether what runs print also appears here.
        on_event: Told what happens, for people.
    """

    root: Path
    api_url: str
    secret_key: str = field(repr=False)
    version: str
    capacity: int = field(default_factory=lambda: os.cpu_count() or 1)
    pool: str = ""
    machine: str = ""
    instance: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    drain_seconds: float | None = None
    echo: bool = False
    on_event: Callable[[WorkerEvent], None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerEvent:
    """Something that people may want to see.

    Attributes:
        kind: ``connected``, ``disconnected``, ``ready``, ``started``, ``waiting``, ``resumed``,
            ``evicted``, ``completed``, ``failed``, ``draining``, ``stopped``.
        run: The run it is about.
        task: The run's task.
        attempt: The number of the attempt.
        detail: An error, or why.
        seconds: Execution time of an attempt that has ended.
        will_retry: Whether a failed attempt is followed by another.
    """

    kind: str
    run: str = ""
    task: str = ""
    attempt: int = 0
    detail: str = ""
    seconds: float = 0.0
    will_retry: bool = False
