"""Flow control: queues and their limits and rates, and triggers that join a run that is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Overlap = Literal["allow", "skip", "queue", "cancel"]
OVERLAPS: tuple[Overlap, ...] = ("allow", "skip", "queue", "cancel")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """So many starts per so many seconds.

    Attributes:
        limit: How many runs may start.
        per: In how many seconds.
        burst: How many may start at once after a quiet time. With 1, starts are spread evenly and
            any `per` seconds see at most `limit` of them. None counts in windows instead: one opens
            with its first start, and lets `limit` start until it closes.
    """

    limit: int
    per: float = 1.0
    burst: int | None = 1

    def __post_init__(self) -> None:
        if self.limit < 1 or self.per <= 0 or (self.burst is not None and self.burst < 1):
            raise ValueError("a rate's limit and burst are at least 1, and its seconds more than 0")

    def to_wire(self) -> dict[str, Any]:
        """The JSON form."""
        wire: dict[str, Any] = {"limit": self.limit, "period": self.per}
        return wire if self.burst is None else {**wire, "burst": self.burst}


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A queue that tasks may share.

    Attributes:
        name: Its name; without one, the queue is the task's own.
        concurrency_limit: How many of its runs may execute at once: of each concurrency key, if
            triggers name keys. None means that only the environment's limit counts.
        total_limit: How many may execute at once, whatever their keys.
        rate: How many may start in how long.
        key_rate: How many of each concurrency key may.
        max_queued: How many may wait; a trigger that finds so many there is refused.
        weight: Its share of places beside other queues of the environment.
        key_weights: The shares of concurrency keys within it, where they are not 1.
    """

    name: str | None = None
    concurrency_limit: int | None = None
    total_limit: int | None = None
    rate: Rate | None = None
    key_rate: Rate | None = None
    max_queued: int | None = None
    weight: float = 1.0
    key_weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("concurrency_limit", "total_limit", "max_queued"):
            limit = getattr(self, name)
            if limit is not None and limit < 0:
                raise ValueError(f"a queue's {name} must not be negative")
        if min((self.weight, *self.key_weights.values())) <= 0:
            raise ValueError("a queue's weight, and those of its keys, must be more than 0")

    def to_wire(self) -> dict[str, Any]:
        """What it says besides its name, in the JSON form."""
        wire = {
            "concurrencyLimit": self.concurrency_limit,
            "totalLimit": self.total_limit,
            "rate": self.rate and self.rate.to_wire(),
            "keyRate": self.key_rate and self.key_rate.to_wire(),
            "maxQueued": self.max_queued,
            "weight": None if self.weight == 1 else self.weight,
            "keyWeights": dict(self.key_weights) or None,
        }
        return {name: value for name, value in wire.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Collect:
    """Payloads of several triggers for one run, whose payload is the list of them.

    Attributes:
        size: The run starts when it has so many, 1,000 at most.
        within: Or so many seconds after the first, a day at most.
    """

    size: int
    within: float

    def __post_init__(self) -> None:
        if not 1 <= self.size <= 1_000:
            raise ValueError("a run collects 1 to 1,000 payloads")
        if not 0 < self.within <= 86_400:
            raise ValueError("a run collects for more than 0 seconds, and a day at most")

    def to_wire(self) -> dict[str, Any]:
        """The JSON form."""
        return {"size": self.size, "seconds": self.within}
