"""Run metadata: a JSON object on the run that everybody who watches it sees change.

Changes apply here at once and travel to the server in small batches; `flush()` waits for them.
`metadata.parent` and `metadata.root` change the metadata of the run that triggered this one, and
of the first ancestor.
"""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Callable, Mapping
from typing import Any

from holdfast.context import require_run

MAX_BYTES = 262_144
"""Largest metadata object in bytes, as JSON."""

_FORBIDDEN = {"__proto__", "constructor", "prototype"}
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]|\[['\"]([^'\"]+)['\"]\]")


class RunMetadata:
    """One run's metadata as this process knows it, and the operations still to be sent."""

    __slots__ = ("_on_change", "is_muted", "pending", "values")

    def __init__(
        self,
        values: Mapping[str, Any] | None = None,
        *,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self.values: dict[str, Any] = copy.deepcopy(dict(values)) if values else {}
        self.pending: dict[str, list[dict[str, Any]]] = {}
        self.is_muted: Callable[[], bool] = lambda: False  # by a durable run that is replayed
        self._on_change = on_change

    def change(self, target: str, operation: dict[str, Any]) -> None:
        """Queue an operation; one on the run itself also applies here."""
        if self.is_muted():
            return
        if target == "self":
            apply(self.values, operation)
        self.pending.setdefault(target, []).append(operation)
        self._on_change()

    def take(self, target: str) -> list[dict[str, Any]]:
        """The queued operations of a target, which are the caller's to send from now on."""
        return self.pending.pop(target, [])


class Changes:
    """The operations on one target's metadata.

    A key is a name or, starting with ``$.``, a path: ``"$.progress.files[0]"``. Values are JSON
    values.
    """

    def __init__(self, target: str) -> None:
        self._target = target

    def set(self, key: str, value: Any) -> None:
        """Set one key."""
        self._change({"type": "set", "key": key, "value": value})

    def delete(self, key: str) -> None:
        """Remove one key; a missing one is fine."""
        self._change({"type": "delete", "key": key})

    def update(self, values: Mapping[str, Any]) -> None:
        """Replace the whole object."""
        self._change({"type": "update", "value": dict(values)})

    def append(self, key: str, value: Any) -> None:
        """Append to a list, which is made when there is none."""
        self._change({"type": "append", "key": key, "value": value})

    def remove(self, key: str, value: Any) -> None:
        """Remove all equal elements from a list."""
        self._change({"type": "remove", "key": key, "value": value})

    def increment(self, key: str, by: float = 1) -> None:
        """Add to a number, which starts at 0."""
        self._change({"type": "increment", "key": key, "value": by})

    def decrement(self, key: str, by: float = 1) -> None:
        """Subtract from a number, which starts at 0."""
        self.increment(key, -by)

    def _change(self, operation: dict[str, Any]) -> None:
        if "key" in operation:
            steps(operation["key"])
        require_run("metadata").metadata.change(self._target, copy.deepcopy(operation))


class Metadata(Changes):
    """The metadata of the current run."""

    def __init__(self) -> None:
        super().__init__("self")
        self.parent = Changes("parent")
        self.root = Changes("root")

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key as this run knows it; `default` when there is none."""
        return copy.deepcopy(require_run("metadata").metadata.values.get(key, default))

    def current(self) -> dict[str, Any]:
        """A copy of the whole object as this run knows it."""
        return copy.deepcopy(require_run("metadata").metadata.values)

    async def flush(self) -> None:
        """Send what is queued now instead of within a second."""
        state = require_run("metadata")
        for target in list(state.metadata.pending):
            await state.runtime.change_metadata(target, state.metadata.take(target))


metadata = Metadata()


def apply(values: dict[str, Any], operation: Mapping[str, Any]) -> None:
    """Apply one operation of the wire contract to a metadata object, in place.

    Args:
        values: The object.
        operation: ``{"type": "set"|"append"|"remove"|"increment", "key", "value"}``,
            ``{"type": "delete", "key"}`` or ``{"type": "update", "value"}``.

    Raises:
        ValueError: The key or the type of the operation is not allowed.
    """
    kind, value = operation["type"], operation.get("value")
    if kind == "update":
        values.clear()
        values.update(value or {})
        return
    found = _place(values, steps(operation["key"]), make=kind != "delete")
    if found is None:
        return
    holder, last = found
    _apply_at(holder, last, kind, value)


def steps(key: str) -> list[str | int]:
    """The path that a metadata key means; raises ValueError for one that is not allowed."""
    path: list[str | int] = [key]
    if key.startswith("$."):
        matches = list(_STEP.finditer(key, 1))
        if "".join(match.group(0) for match in matches) != key[1:]:
            raise ValueError(f"{key!r} is not a path: write it like $.progress.files[0]")
        path = [int(m.group(2)) if m.group(2) else m.group(1) or m.group(3) for m in matches]
    if not key or _FORBIDDEN & {step for step in path if isinstance(step, str)}:
        raise ValueError(f"{key!r} is not allowed as a metadata key")
    return path


def _place(values: Any, path: list[str | int], *, make: bool) -> tuple[Any, str | int] | None:
    """The container that holds the last step, made on the way when `make`."""
    holder = values
    for step, following in itertools.pairwise(path):
        child = _child(holder, step)
        if not isinstance(child, dict | list):
            if not make:
                return None
            child = [] if isinstance(following, int) else {}
            _put(holder, step, child)
        holder = child
    return holder, path[-1]


def _child(holder: Any, step: str | int) -> Any:
    if isinstance(holder, list) and isinstance(step, int):
        return holder[step] if step < len(holder) else None
    return holder.get(step) if isinstance(holder, dict) else None


def _put(holder: Any, step: str | int, value: Any) -> None:
    if isinstance(holder, list) and isinstance(step, int):
        holder.extend([None] * (step + 1 - len(holder)))
        holder[step] = value
    elif isinstance(holder, dict):
        holder[str(step)] = value


def _apply_at(holder: Any, last: str | int, kind: str, value: Any) -> None:
    present = _child(holder, last)
    if kind == "set":
        _put(holder, last, value)
    elif kind == "delete" and isinstance(holder, dict):
        holder.pop(last, None)
    elif kind == "append":
        start = present if isinstance(present, list) else [] if present is None else [present]
        _put(holder, last, [*start, value])
    elif kind == "remove" and isinstance(present, list):
        _put(holder, last, [item for item in present if item != value])
    elif kind == "increment":
        _put(holder, last, (present if isinstance(present, int | float) else 0) + value)
