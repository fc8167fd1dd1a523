"""Change a run's metadata: replace it, or apply the operations of the wire contract in order."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from apps.core.errors import Invalid, NotFound
from apps.core.facts import publish
from apps.core.transactions import retried
from apps.environments.scope import Scope
from apps.runs import policy
from apps.runs.facts import RunsNoted
from apps.runs.limits import limits
from apps.runs.models import Run, RunEvent

_FORBIDDEN = {"__proto__", "constructor", "prototype"}

Operation = dict[str, Any]


@retried
def change_metadata(  # noqa: PLR0913 -- the wire contract's own parts
    scope: Scope,
    *,
    run_id: UUID,
    metadata: dict[str, Any] | None,
    operations: Sequence[Operation] = (),
    parent_operations: Sequence[Operation] = (),
    root_operations: Sequence[Operation] = (),
    now: datetime,
) -> dict[str, Any]:
    """Replace the metadata if given, then apply operations; returns the run's metadata.

    Operations for a parent or root fall back to the run itself when it has none.
    """
    known = (
        Run.objects.within(scope.environment_id).filter(pk=run_id).values("parent_id", "root_id")
    )
    relations = known.first()
    if relations is None:
        raise NotFound
    parts = [
        (run_id, operations),
        (relations["parent_id"] or run_id, parent_operations),
        (relations["root_id"] or run_id, root_operations),
    ]
    wanted = {run_id} | {target for target, steps in parts if steps}
    locked = {
        run.pk: run
        for run in Run.objects.select_for_update(no_key=True)
        .within(scope.environment_id)
        .filter(pk__in=wanted)
        .order_by("pk")
    }
    if metadata is not None:
        locked[run_id].metadata = metadata
    for target, steps in parts:
        if target in locked:
            locked[target].metadata = applied(locked[target].metadata, steps)
    for run in locked.values():
        _save(run, now=now)
    changed: dict[str, Any] = locked[run_id].metadata
    return changed


def apply_operations(run_id: UUID, operations: Sequence[Operation], *, now: datetime) -> None:
    """Apply a worker's operations; the caller holds the run's lock and has checked its lease."""
    run = Run.objects.defer("payload", "output").get(pk=run_id)
    run.metadata = applied(run.metadata, operations)
    _save(run, now=now)


def _save(run: Run, *, now: datetime) -> None:
    run.metadata = policy.storable(run.metadata)
    policy.check_metadata(run.metadata, limits())
    run.updated_at = now
    run.save(update_fields=["metadata", "updated_at"])
    RunEvent.objects.create(
        run_id=run.pk, environment_id=run.environment_id, kind="metadata", status=run.status,
        attempt=run.attempt_count, at=now,
    )  # fmt: skip
    publish(RunsNoted(environment_id=run.environment_id))


def applied(metadata: dict[str, Any], operations: Iterable[Operation]) -> dict[str, Any]:
    """The metadata after these operations; raises Invalid for one that makes no sense."""
    changed: dict[str, Any] = _copy(metadata)
    for operation in operations:
        kind = operation.get("type") if isinstance(operation, dict) else None
        if kind == "update":
            if not isinstance(operation.get("value"), dict):
                raise Invalid("a metadata update needs an object as its value")
            changed = _copy(operation["value"])
            continue
        step = _STEPS.get(str(kind))
        if step is None:
            raise Invalid(
                f"unknown metadata operation {kind!r}; known: {', '.join(_STEPS)}, update"
            )
        parent, last = _reach(changed, str(operation.get("key", "")))
        step(parent, last, operation.get("value"))
    return changed


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value


def _reach(metadata: dict[str, Any], key: str) -> tuple[Any, str | int]:
    """The container and the last step of a key, or of a path such as ``$.steps[2].state``."""
    path = _path(key)
    here: Any = metadata
    for step, following in itertools.pairwise(path):
        here = _descend(here, step, [] if isinstance(following, int) else {})
    return here, path[-1]


def _descend(container: Any, step: str | int, empty: Any) -> Any:
    if isinstance(container, dict) and isinstance(step, str):
        return container.setdefault(step, empty)
    if isinstance(container, list) and isinstance(step, int):
        container.extend([None] * (step + 1 - len(container)))
        if container[step] is None:
            container[step] = empty
        return container[step]
    raise Invalid(f"metadata has no place {step!r} inside a {type(container).__name__}")


def _path(key: str) -> list[str | int]:
    if not key:
        raise Invalid("a metadata operation needs a key")
    steps: list[str | int] = [key]
    if key.startswith("$."):
        parts = key[2:].replace("[", ".").replace("]", "").split(".")
        steps = [int(part) if part.isdigit() else part for part in parts if part]
    if not steps or any(step in _FORBIDDEN for step in steps):
        raise Invalid(f"{key!r} is not a usable metadata key")
    if any(isinstance(step, int) and step > 10_000 for step in steps):
        raise Invalid(f"{key!r} has an index over 10000")
    return steps


def _get(container: Any, step: str | int) -> Any:
    if isinstance(container, dict):
        return container.get(str(step))
    if isinstance(container, list) and isinstance(step, int) and step < len(container):
        return container[step]
    return None


def _set(container: Any, step: str | int, value: Any) -> None:
    if isinstance(container, list) and isinstance(step, int):
        container.extend([None] * (step + 1 - len(container)))
        container[step] = value
    elif isinstance(container, dict):
        container[str(step)] = value
    else:
        raise Invalid(f"metadata has no place {step!r} inside a {type(container).__name__}")


def _delete(container: Any, step: str | int, value: Any) -> None:
    if isinstance(container, dict):
        container.pop(str(step), None)
    elif isinstance(container, list) and isinstance(step, int) and step < len(container):
        del container[step]


def _append(container: Any, step: str | int, value: Any) -> None:
    present = _get(container, step)
    if present is None:
        _set(container, step, [value])
    else:
        _set(container, step, [*(present if isinstance(present, list) else [present]), value])


def _remove(container: Any, step: str | int, value: Any) -> None:
    present = _get(container, step)
    if isinstance(present, list):
        _set(container, step, [item for item in present if item != value])


def _increment(container: Any, step: str | int, value: Any) -> None:
    present = _get(container, step)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Invalid("a metadata increment needs a number as its value")
    is_number = isinstance(present, int | float) and not isinstance(present, bool)
    _set(container, step, (present if is_number else 0) + value)


_STEPS = {
    "set": _set,
    "delete": _delete,
    "append": _append,
    "remove": _remove,
    "increment": _increment,
}
