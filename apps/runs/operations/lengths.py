"""How long queues may get: a trigger that would make one longer is refused."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from uuid import UUID

from apps.core import sql
from apps.deployments.models import Queue
from apps.runs.errors import QueueFull
from apps.runs.models import Run
from apps.runs.states import RunStatus

_CAPS_SECONDS = 2.0
_EXACT = 1_000
_COUNT_SECONDS = 1.0

# What this process has looked up, and until when it counts: the caps of an environment's queues,
# and the lengths of long queues, each with what was added here since.
_caps: dict[UUID, tuple[float, dict[str, int]]] = {}
_lengths: dict[tuple[UUID, str], tuple[float, int]] = {}


def check_lengths(runs: Sequence[Run]) -> None:
    """Raise QueueFull when these runs would make a queue longer than it may be.

    A cap of up to 1,000 holds for each trigger, a higher one for what was counted at most a second
    ago: counting costs as much as there is to count.
    """
    queued = [run for run in runs if run.status == RunStatus.QUEUED]
    more = Counter((run.environment_id, run.queue) for run in queued)
    for (environment_id, name), count in more.items():
        cap = _caps_of(environment_id).get(name)
        if cap is not None and _length(environment_id, name, cap, count) > cap:
            raise QueueFull(
                f"the queue {name!r} may have {cap} runs waiting, and has them",
                detail={"queue": [name], "limit": [cap]},
            )


def _caps_of(environment_id: UUID) -> dict[str, int]:
    moment = time.monotonic()
    known = _caps.get(environment_id)
    if known is not None and known[0] > moment:
        return known[1]
    capped = Queue.objects.filter(environment_id=environment_id, max_queued__isnull=False)
    found = {name: cap for name, cap in capped.values_list("name", "max_queued") if cap is not None}
    _caps[environment_id] = (moment + _CAPS_SECONDS, found)
    return found


def _length(environment_id: UUID, name: str, cap: int, count: int) -> int:
    """How long the queue would be; a count that is at hand is trusted unless it says too long."""
    moment = time.monotonic()
    until, known = _lengths.get((environment_id, name), (0.0, 0))
    if cap <= _EXACT or moment >= until or known + count > cap:
        until, known = moment + _COUNT_SECONDS, _count(environment_id, name, cap)
    _lengths[environment_id, name] = (until, known + count)
    return known + count


def _count(environment_id: UUID, name: str, cap: int) -> int:
    rows = sql.rows(
        sql.load("runs", "queue_length"),
        {"environment": environment_id, "queue": name, "most": cap + 1},
    )
    return int(rows[0]["length"])


def forget_caps() -> None:
    """Look caps and lengths up again, as after one was changed."""
    _caps.clear()
    _lengths.clear()
