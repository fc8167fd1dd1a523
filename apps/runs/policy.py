"""Pure decisions: when a run is tried again, what a request is called, what it may contain."""

from __future__ import annotations

import hashlib
import json
import random
from datetime import datetime, timedelta
from typing import Any, Protocol

from apps.core.errors import Invalid, TooLarge
from apps.runs.limits import Limits
from holdfast.machines import MACHINES

_FACTOR = 2.0
_SHORTEST_MS = 1_000
_LONGEST_MS = 60_000


def retry_delay(retry: dict[str, Any], *, attempt: int, chance: random.Random) -> timedelta:
    """How long to wait after failed attempt number `attempt` (from 1).

    min(max, min * factor ** (attempt - 1)), times a random 1 to 2 when the policy says `randomize`:
    exponential backoff with the contract's field names and defaults (factor 2, 1 s to 60 s).
    """
    shortest = retry.get("minTimeoutInMs", _SHORTEST_MS)
    longest = retry.get("maxTimeoutInMs", _LONGEST_MS)
    factor = retry.get("factor", _FACTOR)
    spread = 1 + chance.random() if retry.get("randomize", True) else 1.0
    try:
        delay = shortest * factor ** (attempt - 1) * spread
    except OverflowError:
        delay = longest
    return timedelta(milliseconds=min(longest, delay))


def order_at(now: datetime, priority_seconds: float) -> datetime:
    """A run's place in its lane: first come first served, with its head start."""
    return now - timedelta(seconds=priority_seconds)


def key_digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def check_tags(tags: tuple[str, ...], limits: Limits) -> None:
    """Raise Invalid when there are too many tags, or one is empty or too long."""
    if len(tags) > limits.tags_per_run:
        raise Invalid(
            f"a run may have {limits.tags_per_run} tags, this one would have {len(tags)}",
            detail={"tags": ["too many"]},
        )
    for tag in tags:
        if not 0 < len(tag) <= limits.tag_length:
            raise Invalid(
                f"a tag has 1 to {limits.tag_length} characters, this one has {len(tag)}",
                detail={"tags": ["bad length"]},
            )


def check_key(key: str | None, limits: Limits, *, field: str) -> None:
    """Raise Invalid when an idempotency key is empty or too long."""
    if key is not None and not 0 < len(key) <= limits.idempotency_key_length:
        raise Invalid(
            f"{field} has 1 to {limits.idempotency_key_length} characters, this one has {len(key)}",
            detail={field: ["bad length"]},
        )


def check_payload(payload: str | None, limits: Limits) -> None:
    """Raise TooLarge when a payload is over the limit; its size is measured in UTF-8 bytes."""
    size = len(payload.encode()) if payload else 0
    if size > limits.payload_bytes:
        raise TooLarge(
            f"a payload may have {limits.payload_bytes} bytes, this one has {size}; "
            "put large data into object storage and pass its name"
        )


def check_metadata(metadata: dict[str, Any] | None, limits: Limits) -> None:
    """Raise TooLarge when metadata, as JSON, is over the limit."""
    size = len(json.dumps(metadata).encode()) if metadata else 0
    if size > limits.metadata_bytes:
        raise TooLarge(
            f"a run's metadata may have {limits.metadata_bytes} bytes as JSON, this has {size}"
        )


class _Bounded(Protocol):
    @property
    def task(self) -> str: ...
    @property
    def queue(self) -> str | None: ...
    @property
    def concurrency_key(self) -> str | None: ...
    @property
    def machine(self) -> str | None: ...
    @property
    def max_attempts(self) -> int | None: ...
    @property
    def max_duration_seconds(self) -> int | None: ...
    @property
    def ttl(self) -> timedelta | None: ...


def check_options(request: _Bounded, limits: Limits) -> None:
    """Raise Invalid, naming every option that is out of its bounds."""
    wrong: dict[str, list[str]] = {}
    for field, text in (
        ("task", request.task),
        ("queue", request.queue),
        ("concurrencyKey", request.concurrency_key),
    ):
        if text is not None and not 0 < len(text) <= limits.name_length:
            wrong[field] = [f"has 1 to {limits.name_length} characters"]
    if request.machine is not None and request.machine not in MACHINES:
        wrong["machine"] = [f"is one of {', '.join(MACHINES)}"]
    if (
        request.max_attempts is not None
        and not 1 <= request.max_attempts <= limits.attempts_per_run
    ):
        wrong["maxAttempts"] = [f"is 1 to {limits.attempts_per_run}"]
    if request.max_duration_seconds is not None and request.max_duration_seconds < 1:
        wrong["maxDuration"] = ["is at least 1 second"]
    if request.ttl is not None and request.ttl < timedelta(0):
        wrong["ttl"] = ["is not negative"]
    if wrong:
        said = "; ".join(f"{field} {reasons[0]}" for field, reasons in wrong.items())
        raise Invalid(said, detail=wrong)
