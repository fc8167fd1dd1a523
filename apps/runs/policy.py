"""Pure decisions: when a run is tried again, what a request is called, what it may contain."""

from __future__ import annotations

import hashlib
import json
import math
import random
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from apps.core.errors import Invalid, TooLarge
from apps.runs.limits import Limits
from holdfast.machines import MACHINES
from holdfast.protocol import Entry

_FACTOR = 2.0
_SHORTEST_MS = 1_000
_LONGEST_MS = 60_000
_TEN_YEARS = timedelta(days=3_650)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_UNSTORABLE_TEXT = "{} may have no NUL character and no half of a surrogate pair in it"
_MOST_INTEGER = 2**31 - 1
_MOST_BIG = 2**63 - 1
_NAME_LENGTH = 255
_YEAR_MS = 365 * 86_400_000
_YEAR_3000_MS = 32_503_680_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ERROR_TEXTS = ("type", "code", "name", "message", "raw", "stackTrace")


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


def delivery_pause(deliveries: int) -> timedelta:
    """How long a run rests that a worker gave back: not at all at first, then ever longer.

    A worker that takes runs ahead gives some back as a matter of course.
    """
    if deliveries < 4:
        return timedelta(0)
    return timedelta(seconds=min(2.0 ** (deliveries - 4), 30.0))


def retry_pause(milliseconds: int) -> timedelta:
    """The delay that a worker decided on, within bounds."""
    return timedelta(milliseconds=max(0, min(milliseconds, _YEAR_MS)))


def executed(milliseconds: int) -> int:
    """An execution time that a worker measured, within bounds."""
    return max(0, min(milliseconds, _YEAR_MS))


def moment(milliseconds: int) -> datetime:
    """A time that a worker named, in milliseconds since 1970, within bounds."""
    return _EPOCH + timedelta(milliseconds=max(0, min(milliseconds, _YEAR_3000_MS)))


def own_queue(task: str) -> str:
    """The queue of a task that names none."""
    return f"task/{task}"


def key_digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def is_storable(text: str) -> bool:
    """Whether PostgreSQL can keep a text: no NUL in it, and no half of a surrogate pair."""
    return _UNSTORABLE.search(text) is None


def storable(value: Any) -> Any:
    """A JSON value as PostgreSQL can keep it; what it cannot becomes U+FFFD, or null."""
    if isinstance(value, str):
        return _UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {storable(str(key)): storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def kept_error(error: Mapping[str, Any], limits: Limits) -> dict[str, Any]:
    """A TaskRunError as it is kept: storable, and its texts cut where it is too large."""
    kept: dict[str, Any] = storable(dict(error))
    if len(json.dumps(kept)) <= limits.error_bytes:
        return kept
    most = limits.error_bytes // 32  # five texts, of characters of at most six bytes as JSON
    texts = {name: kept[name] for name in _ERROR_TEXTS if isinstance(kept.get(name), str)}
    return {name: text if len(text) <= most else f"{text[:most]}…" for name, text in texts.items()}


def journal_problem(entries: Iterable[Entry], limits: Limits) -> str | None:
    """Why these entries cannot be kept in a journal; None when they can."""
    for entry in entries:
        if not 0 < entry.seq <= limits.journal_entries:
            return f"a journal has at most {limits.journal_entries} entries"
        if entry.output is not None and len(entry.output) > limits.output_bytes:
            return f"the result of {entry.name!r} has more than {limits.output_bytes} bytes"
    return None


def kept_entry(entry: Entry, limits: Limits) -> Entry:
    """An entry of a journal as it is kept: storable, and within bounds."""
    return Entry(
        seq=entry.seq,
        position=storable(entry.position)[:_NAME_LENGTH],
        kind=storable(entry.kind)[:_NAME_LENGTH],
        name=storable(entry.name)[:_NAME_LENGTH],
        after=max(0, min(entry.after, entry.seq)),
        digest=entry.digest and storable(entry.digest)[:_NAME_LENGTH],
        ok=entry.ok,
        output=storable(entry.output),
        output_type=storable(entry.output_type)[:_NAME_LENGTH],
        error=None if entry.error is None else kept_error(entry.error, limits),
        attempts=max(1, min(entry.attempts, _MOST_INTEGER)),
        started_ms=max(0, min(entry.started_ms, _MOST_BIG)),
        took_ms=executed(entry.took_ms),
    )


def check_tags(tags: Iterable[str], limits: Limits, *, subject: str = "a run") -> None:
    """Raise Invalid when there are too many tags, or one is empty, too long or not storable."""
    known = set(tags)
    if len(known) > limits.tags_per_run:
        raise Invalid(
            f"{subject} may have {limits.tags_per_run} tags, this one would have {len(known)}",
            detail={"tags": ["too many"]},
        )
    for tag in known:
        if not 0 < len(tag) <= limits.tag_length:
            raise Invalid(
                f"a tag has 1 to {limits.tag_length} characters, this one has {len(tag)}",
                detail={"tags": ["bad length"]},
            )
        if not is_storable(tag):
            raise Invalid(_UNSTORABLE_TEXT.format("a tag"), detail={"tags": ["cannot be stored"]})


def check_key(key: str | None, limits: Limits, *, field: str) -> None:
    """Raise Invalid when an idempotency key is empty or too long."""
    if key is not None and not 0 < len(key) <= limits.idempotency_key_length:
        raise Invalid(
            f"{field} has 1 to {limits.idempotency_key_length} characters, this one has {len(key)}",
            detail={field: ["bad length"]},
        )
    if key is not None and not is_storable(key):
        raise Invalid(_UNSTORABLE_TEXT.format(field), detail={field: ["cannot be stored"]})


def is_input_key(key: str, limits: Limits) -> bool:
    """Whether an input may have this name."""
    return 0 < len(key) <= limits.name_length and is_storable(key)


def is_item(key: str, seq: int, limits: Limits) -> bool:
    """Whether an input may ever have this item."""
    return is_input_key(key, limits) and 0 <= seq < limits.inputs_per_run


def check_input(key: str, data: str | None, limits: Limits) -> None:
    """Raise Invalid for a name that an input cannot have, TooLarge for an item over the limit."""
    if not is_input_key(key, limits):
        raise Invalid(
            f"the name of an input has 1 to {limits.name_length} characters",
            detail={"key": ["malformed"]},
        )
    if data is None:
        return
    if not is_storable(data):
        raise Invalid(
            _UNSTORABLE_TEXT.format("an input"), detail={"data": ["cannot be stored"]}
        )  # fmt: skip
    size = len(data.encode())
    if size > limits.input_bytes:
        raise TooLarge(
            f"an item of an input may have {limits.input_bytes} bytes, this one has {size}"
        )


def check_inputs(count: int, total: int, limits: Limits) -> None:
    """Raise Invalid when a run would have more input than it may."""
    if count > limits.inputs_per_run:
        text = f"a run may be sent {limits.inputs_per_run} items of input, and has been"
        raise Invalid(text, detail={"data": ["too many"]})
    if total > limits.input_total_bytes:
        text = f"a run may be sent {limits.input_total_bytes} bytes of input, not {total}"
        raise Invalid(text, detail={"data": ["too many bytes"]})


def check_payload(payload: str | None, limits: Limits) -> None:
    """Raise TooLarge when a payload is over the limit; its size is measured in UTF-8 bytes."""
    if payload is None:
        return
    if not is_storable(payload):
        text = _UNSTORABLE_TEXT.format("a payload")
        raise Invalid(text, detail={"payload": ["cannot be stored"]})
    size = len(payload.encode())
    if size > limits.payload_bytes:
        raise TooLarge(
            f"a payload may have {limits.payload_bytes} bytes, this one has {size}; "
            "put large data into object storage and pass its name"
        )


def check_metadata(metadata: dict[str, Any] | None, limits: Limits) -> None:
    """Raise TooLarge when metadata, as JSON, is over the limit."""
    size = len(json.dumps(metadata, ensure_ascii=False).encode(errors="replace"))
    if metadata and size > limits.metadata_bytes:
        raise TooLarge(
            f"a run's metadata may have {limits.metadata_bytes} bytes as JSON, this has {size}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Debounce:
    """Triggers of one key push one run on, until none came for `delay`, or for `max_delay` at most.

    It has the payload of the first trigger, or of the last one if it `is_trailing`.
    """

    key: str
    delay: timedelta
    is_trailing: bool = False
    max_delay: timedelta | None = None


def check_debounce(debounce: Debounce | None, limits: Limits) -> None:
    """Raise Invalid, naming what is wrong with a debounce."""
    if debounce is None:
        return
    wrong = {}
    most = limits.debounce_key_length
    if not (0 < len(debounce.key) <= most and is_storable(debounce.key)):
        wrong["key"] = f"has 1 to {most} characters, without NUL"
    if not timedelta(seconds=1) <= debounce.delay <= _TEN_YEARS:
        wrong["delay"] = "is at least 1 second"
    if debounce.max_delay is not None and debounce.max_delay <= debounce.delay:
        wrong["maxDelay"] = "is more than the delay"
    if wrong:
        said = "; ".join(f"debounce.{name} {reason}" for name, reason in wrong.items())
        raise Invalid(said, detail={f"debounce.{name}": [why] for name, why in wrong.items()})


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
    @property
    def idempotency_ttl(self) -> timedelta | None: ...
    @property
    def priority_seconds(self) -> float: ...


def check_options(request: _Bounded, limits: Limits) -> None:
    """Raise Invalid, naming every option that is out of its bounds."""
    wrong = {**_wrong_names(request, limits), **_wrong_bounds(request, limits)}
    if wrong:
        said = "; ".join(f"{field} {reason}" for field, reason in wrong.items())
        raise Invalid(said, detail={field: [reason] for field, reason in wrong.items()})


def _wrong_names(request: _Bounded, limits: Limits) -> dict[str, str]:
    names = {
        "task": request.task,
        "queue": request.queue,
        "concurrencyKey": request.concurrency_key,
    }
    wrong = {
        field: f"has 1 to {limits.name_length} characters, without NUL"
        for field, name in names.items()
        if name is not None and not (0 < len(name) <= limits.name_length and is_storable(name))
    }
    if request.machine is not None and request.machine not in MACHINES:
        wrong["machine"] = f"is one of {', '.join(MACHINES)}"
    return wrong


def _wrong_bounds(request: _Bounded, limits: Limits) -> dict[str, str]:
    longest = _TEN_YEARS.total_seconds()
    bounds: tuple[tuple[str, float | None, float, float], ...] = (
        ("maxAttempts", request.max_attempts, 1, limits.attempts_per_run),
        ("maxDuration", request.max_duration_seconds, 1, _MOST_INTEGER),
        ("ttl", _seconds(request.ttl), 0, longest),
        ("idempotencyKeyTTL", _seconds(request.idempotency_ttl), 0, longest),
        ("priority", request.priority_seconds, -longest, longest),
    )
    return {
        field: f"is {lowest:g} to {highest:g}"
        for field, number, lowest, highest in bounds
        if number is not None and not lowest <= number <= highest
    }


def _seconds(length: timedelta | None) -> float | None:
    return None if length is None else length.total_seconds()
