"""What a run waits for and what is kept of it meanwhile, in words for people."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from apps.core.ids import public_id
from apps.deployments.models import Checkpoint, CheckpointState, Instance, WorkerSession
from apps.deployments.providing import provider_of
from apps.providers.errors import ProviderError
from apps.runs.models import Lease, Run, Wait, Waitpoint
from apps.runs.states import WaitpointKind


def why_waiting(run: Run) -> str:
    """What a waiting run waits for, and what becomes of its process."""
    waits = list(
        Wait.objects.filter(run_id=run.pk, waitpoint__completed_at=None)
        .select_related("waitpoint")
        .order_by("waitpoint__due_at", "waitpoint_id")
    )
    if not waits:
        return "What it waited for has happened; it is about to go on."
    word = " and " if waits[0].needs_all else " or "
    asked = [
        phrase([wait.waitpoint for wait in waits if wait.waitpoint.kind == kind])
        for kind, phrase in _PHRASES.items()
        if any(wait.waitpoint.kind == kind for wait in waits)
    ]
    return f"It waits {word.join(asked)}, and holds no slot. {_kept(run)}"


def _kept(run: Run) -> str:
    session_id = Lease.objects.filter(pk=run.pk).values_list("session_id", flat=True).first()
    if session_id is None:
        return "Nothing of it is kept but what it has recorded: any worker can go on with it."
    images = Checkpoint.objects.filter(session_id=session_id)
    if images.filter(state__in=[CheckpointState.TAKEN, CheckpointState.RESTORING]).exists():
        return "Its process is frozen in an image, and costs nothing until then."
    instance_id = WorkerSession.objects.filter(pk=session_id).values_list("instance_id", flat=True)
    instance = Instance.objects.select_related("pool").filter(pk__in=instance_id).first()
    if instance is None:
        return "Its worker keeps the process in memory."
    if _takes_snapshots(instance):
        return "Its worker keeps the process in memory until it is frozen."
    return "Its worker keeps the process in memory: its provider takes no snapshots."


def _takes_snapshots(instance: Instance) -> bool:
    try:
        return provider_of(instance.pool).capabilities.checkpoint
    except ProviderError:
        return False


def _times(points: Sequence[Waitpoint]) -> str:
    first, *more = points
    until = f"until {first.due_at:%Y-%m-%d %H:%M:%S} UTC"
    return f"{until} (and {len(more)} later times)" if more else until


def _tokens(points: Sequence[Waitpoint]) -> str:
    first, *more = points
    if more:
        return f"for {len(points)} tokens"
    name = public_id("waitpoint", first.pk)
    return f"for the token {name}, until {first.due_at:%Y-%m-%d %H:%M:%S} UTC"


def _runs(points: Sequence[Waitpoint]) -> str:
    first, *more = points
    if more or first.run_id is None:
        return f"for {len(points)} runs"
    return f"for the run {public_id('run', first.run_id)}"


def _batches(points: Sequence[Waitpoint]) -> str:
    first, *more = points
    if more or first.batch_id is None:
        return f"for {len(points)} batches"
    return f"for the batch {public_id('batch', first.batch_id)}"


def _inputs(points: Sequence[Waitpoint]) -> str:
    names = [repr(point.key) for point in points]
    until = max((point.due_at for point in points if point.due_at), default=None)
    if len(names) > 1:
        return f"for one of the inputs {', '.join(dict.fromkeys(names))}"
    return f"for input {names[0]}" + (f", until {until:%Y-%m-%d %H:%M:%S} UTC" if until else "")


_PHRASES: dict[str, Callable[[Sequence[Waitpoint]], str]] = {
    WaitpointKind.RUN: _runs,
    WaitpointKind.BATCH: _batches,
    WaitpointKind.TOKEN: _tokens,
    WaitpointKind.INPUT: _inputs,
    WaitpointKind.TIME: _times,
}
