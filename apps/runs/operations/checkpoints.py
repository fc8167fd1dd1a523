"""Workers that only wait, frozen into images by their provider and thawed when they are needed.

A worker is frozen as a whole, when each of its runs has waited longer than its task says. It closes
its connections first and says so; only then is the provider asked. What it holds stays its: the
leases run on by themselves while the image exists, and the thawed worker takes them over under a
session of its own and new generations. An image is thawed once: a second copy finds nothing its.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import F, QuerySet

from apps.core.facts import publish
from apps.core.ids import parse_public_id
from apps.core.locks import transaction_lock, try_session_lock
from apps.core.transactions import retried
from apps.deployments.facts import WorkerToFreeze
from apps.deployments.models import (
    Checkpoint,
    CheckpointState,
    Instance,
    InstanceState,
    Pool,
    Task,
    WorkerSession,
)
from apps.providers.errors import ProviderError
from apps.providers.protocol import Provider, WorkerSpec
from apps.runs.limits import limits
from apps.runs.models import Lease, ReadyRun, Run
from apps.runs.operations.locks import lock_places
from apps.runs.states import RunStatus

Clock = Callable[[], datetime]
MakeSpec = Callable[[Instance], WorkerSpec]

_FOR_EVER = datetime(3000, 1, 1, tzinfo=UTC)
_OPEN = [
    CheckpointState.ASKED,
    CheckpointState.PREPARED,
    CheckpointState.TAKEN,
    CheckpointState.RESTORING,
]
_COMES_BACK = {CheckpointState.PREPARED, CheckpointState.RESTORING, CheckpointState.FAILED}

logger = logging.getLogger(__name__)


def quiet() -> timedelta:
    """How long freezing may take before the worker gives it up and goes on."""
    return timedelta(seconds=limits().freeze_seconds)


# -- What the worker says --------------------------------------------------------------------------


@retried
def prepare(session_id: UUID, checkpoint_id: UUID, *, now: datetime) -> bool:
    """A worker has closed its connections: whether it may be silent now.

    Not when a run of it has been woken in the meantime. From here on its leases last as long as the
    freezing may, and whatever wakes its runs waits for its return.
    """
    run_ids = _held_runs(session_id)
    lock_places(runs=run_ids)
    runs = _lock_runs(run_ids)
    found = Checkpoint.objects.select_for_update(of=("self",)).filter(
        pk=checkpoint_id, session_id=session_id, state=CheckpointState.ASKED
    )
    checkpoint = found.first()
    if checkpoint is None:
        return False
    if not runs or any(run.status != RunStatus.WAITING for run in runs):
        _move(checkpoint, CheckpointState.FAILED, "a run of it was woken", now=now)
        return False
    _move(checkpoint, CheckpointState.PREPARED, now=now)
    WorkerSession.objects.filter(pk=session_id).update(disconnected_at=now)
    patience = timedelta(seconds=limits().lease_seconds) + quiet()
    Lease.objects.filter(session_id=session_id).update(expires_at=now + patience)
    return True


def adopt(name: str, session_id: UUID, *, now: datetime) -> dict[UUID, int]:
    """Give what a frozen worker held to the session that it came back under.

    Returns the new generations; nothing for an image that was thawed before, or was given up. The
    caller is in a transaction, and has registered the session.
    """
    checkpoint_id = parse_public_id("checkpoint", name)
    former = Checkpoint.objects.filter(pk=checkpoint_id).values_list("session_id", flat=True)
    run_ids = _held_runs(former[0]) if former else []
    lock_places(runs=run_ids)
    runs = _lock_runs(run_ids)
    checkpoint = Checkpoint.objects.select_for_update(of=("self",)).filter(pk=checkpoint_id).first()
    environment = WorkerSession.objects.values_list("environment_id", flat=True).get(pk=session_id)
    if checkpoint is None or checkpoint.state not in _COMES_BACK:
        return {}
    if checkpoint.instance.environment_id != environment:
        return {}
    if checkpoint.state == CheckpointState.RESTORING:
        _move(checkpoint, CheckpointState.RESTORED, now=now)
        WorkerSession.objects.filter(pk=session_id).update(instance_id=checkpoint.restored_id)
    elif checkpoint.state == CheckpointState.PREPARED:
        _move(checkpoint, CheckpointState.FAILED, "the worker went on before it", now=now)
    return _take_over(checkpoint.session_id, session_id, runs, now=now)


def _take_over(
    former: UUID, session_id: UUID, runs: Sequence[Run], *, now: datetime
) -> dict[UUID, int]:
    leases = Lease.objects.filter(session_id=former, run_id__in=[run.pk for run in runs])
    kept = dict(leases.select_for_update().order_by("pk").values_list("run_id", "generation"))
    Run.objects.filter(pk__in=kept).update(generation=F("generation") + 1)
    ReadyRun.objects.filter(pk__in=kept).update(session_id=session_id)
    Lease.objects.filter(pk__in=kept).update(
        session_id=session_id,
        generation=F("generation") + 1,
        expires_at=now + timedelta(seconds=limits().lease_seconds),
    )
    return {run_id: generation + 1 for run_id, generation in kept.items()}


def _held_runs(session_id: UUID) -> list[UUID]:
    return list(Lease.objects.filter(session_id=session_id).values_list("run_id", flat=True))


def _lock_runs(run_ids: Iterable[UUID]) -> list[Run]:
    runs = Run.objects.select_for_update(no_key=True).defer("payload", "output")
    return list(runs.filter(pk__in=list(run_ids)).order_by("pk"))


def _move(checkpoint: Checkpoint, state: str, reason: str = "", *, now: datetime) -> None:
    checkpoint.state, checkpoint.reason, checkpoint.moved_at = state, reason, now
    checkpoint.save(update_fields=["state", "reason", "moved_at", "restored"])


# -- What the reconciler does ----------------------------------------------------------------------


def reconcile(pool: Pool, provider: Provider, *, make_spec: MakeSpec, clock: Clock) -> None:
    """Freeze what waits and thaw what is needed; any number may do it at once."""
    if not provider.capabilities.checkpoint:
        return
    _decide(pool, now=clock())
    for checkpoint in _in(pool, CheckpointState.PREPARED):
        _freeze(checkpoint, provider, clock=clock)
    for checkpoint in _in(pool, CheckpointState.RESTORING):
        _thaw(checkpoint, provider, make_spec=make_spec, clock=clock)
    for checkpoint in _in(pool, CheckpointState.RESTORED, CheckpointState.FAILED):
        _discard(checkpoint, provider, clock=clock)


def under_way(pool: Pool) -> tuple[set[UUID], set[UUID]]:
    """Instances whose end is the freezing's own doing, and those that only a thaw may start."""
    frozen = _in(pool, CheckpointState.PREPARED).values_list("instance_id", flat=True)
    thawing = _in(pool, CheckpointState.RESTORING).values_list("restored_id", flat=True)
    return set(frozen), {instance_id for instance_id in thawing if instance_id}


def _in(pool: Pool, *states: str) -> QuerySet[Checkpoint]:
    return Checkpoint.objects.filter(pool=pool, state__in=states).select_related("instance")


@transaction.atomic
def _decide(pool: Pool, *, now: datetime) -> None:
    transaction_lock(f"checkpoints:{pool.name}")
    _give_up(pool, now=now)
    _promise_thaws(pool, now=now)
    _ask(pool, now=now)
    for checkpoint in _in(pool, CheckpointState.ASKED):
        publish(WorkerToFreeze(session_id=checkpoint.session_id, checkpoint_id=checkpoint.pk))


def _give_up(pool: Pool, *, now: datetime) -> None:
    """What was not done in time is not done any more."""
    late = now - quiet()
    asked = _in(pool, CheckpointState.ASKED).filter(moved_at__lte=late)
    asked.update(state=CheckpointState.FAILED, reason="the worker did not answer", moved_at=now)
    # the worker goes on by itself after so long; one that was killed half-way is lost
    prepared = _in(pool, CheckpointState.PREPARED).filter(moved_at__lte=late)
    prepared.update(state=CheckpointState.FAILED, reason="it took too long", moved_at=now)
    patience = now - 2 * timedelta(seconds=limits().lease_seconds)
    for checkpoint in _in(pool, CheckpointState.RESTORING).filter(moved_at__lte=patience):
        _lose(checkpoint, "the thawed worker did not come back", now=now)


def _lose(checkpoint: Checkpoint, reason: str, *, now: datetime) -> None:
    """The image is of no use: what it held is retried as its policies say."""
    _move(checkpoint, CheckpointState.FAILED, reason, now=now)
    Lease.objects.filter(session_id=checkpoint.session_id).update(expires_at=now)


def _promise_thaws(pool: Pool, *, now: datetime) -> None:
    for checkpoint in _in(pool, CheckpointState.TAKEN):
        leases = Lease.objects.filter(session_id=checkpoint.session_id)
        if not leases.exists():
            _move(checkpoint, CheckpointState.FAILED, "its runs have ended", now=now)
        elif ReadyRun.objects.filter(session_id=checkpoint.session_id).exists():
            former = checkpoint.instance
            checkpoint.restored = Instance.objects.create(
                pool=pool,
                environment_id=former.environment_id,
                version_id=former.version_id,
                machine=former.machine,
                created_at=now,
                busy_at=now,
            )
            _move(checkpoint, CheckpointState.RESTORING, now=now)


def _ask(pool: Pool, *, now: datetime) -> None:
    running = Instance.objects.filter(pool=pool, state=InstanceState.RUNNING)
    sessions = WorkerSession.objects.filter(
        instance_id__in=running.values("pk"), disconnected_at=None
    ).exclude(pk__in=Checkpoint.objects.filter(state__in=_OPEN).values("session_id"))
    for session_id, instance_id in sessions.values_list("pk", "instance_id"):
        latest = Checkpoint.objects.filter(session_id=session_id).first()
        if latest is not None and latest.moved_at > now - quiet():
            continue  # it came to nothing just now
        if instance_id is not None and _waits_long(session_id, now=now):
            Checkpoint.objects.create(
                pool=pool, instance_id=instance_id, session_id=session_id,
                created_at=now, moved_at=now,
            )  # fmt: skip


def _waits_long(session_id: UUID, *, now: datetime) -> bool:
    """Whether a worker has runs, and each has waited for longer than its task says."""
    held = _held_runs(session_id)
    fields = ("id", "status", "task", "version_id", "updated_at")
    runs = list(Run.objects.filter(pk__in=held).only(*fields))
    if not runs or any(run.status != RunStatus.WAITING for run in runs):
        return False
    patience = _patience(runs)
    return all(
        run.updated_at <= now - timedelta(seconds=patience[run.version_id, run.task])
        for run in runs
    )


def _patience(runs: Sequence[Run]) -> dict[tuple[UUID | None, str], int]:
    """How many seconds runs of these tasks wait before their process may be frozen."""
    default = limits().suspend_after_seconds
    asked: dict[tuple[UUID | None, str], int] = {
        (run.version_id, run.task): default for run in runs
    }
    known = Task.objects.filter(
        version_id__in={run.version_id for run in runs}, suspend_after_seconds__isnull=False
    )
    for task in known.only("version_id", "slug", "suspend_after_seconds"):
        asked[task.version_id, task.slug] = task.suspend_after_seconds or 0
    return asked


def _freeze(checkpoint: Checkpoint, provider: Provider, *, clock: Clock) -> None:
    with try_session_lock(f"checkpoint:{checkpoint.pk}") as is_mine:
        if not is_mine:
            return
        reference = checkpoint.instance.provider_ref or str(checkpoint.instance_id)
        failure = ""
        try:
            provider.checkpoint(reference, image=str(checkpoint))
        except ProviderError as error:
            failure = error.message
        _settle_freeze(checkpoint.pk, failure, now=clock())


@transaction.atomic
def _settle_freeze(checkpoint_id: UUID, failure: str, *, now: datetime) -> None:
    """Note what came of it; a worker that has gone on in the meantime was stopped all the same."""
    checkpoint = Checkpoint.objects.select_for_update(of=("self",)).get(pk=checkpoint_id)
    if failure:
        if checkpoint.state == CheckpointState.PREPARED:
            _move(checkpoint, CheckpointState.FAILED, failure, now=now)
        return
    Instance.objects.filter(
        pk=checkpoint.instance_id,
        state__in=[InstanceState.STARTING, InstanceState.RUNNING, InstanceState.STOPPING],
    ).update(state=InstanceState.STOPPED, reason="frozen: its runs wait", stopped_at=now)
    if checkpoint.state == CheckpointState.PREPARED:
        _move(checkpoint, CheckpointState.TAKEN, now=now)
        Lease.objects.filter(session_id=checkpoint.session_id).update(expires_at=_FOR_EVER)


def _thaw(checkpoint: Checkpoint, provider: Provider, *, make_spec: MakeSpec, clock: Clock) -> None:
    with try_session_lock(f"checkpoint:{checkpoint.pk}") as is_mine:
        row = Instance.objects.filter(
            pk__in=[checkpoint.restored_id], state=InstanceState.STARTING
        ).first()
        if not is_mine or row is None:
            return
        try:
            reference = provider.restore(make_spec(row), image=str(checkpoint))
        except ProviderError as error:
            _settle_thaw(checkpoint.pk, row, failure=error.message, now=clock())
        else:
            _settle_thaw(checkpoint.pk, row, reference=reference, now=clock())


@transaction.atomic
def _settle_thaw(
    checkpoint_id: UUID, row: Instance, *, reference: str = "", failure: str = "", now: datetime
) -> None:
    checkpoint = Checkpoint.objects.select_for_update(of=("self",)).get(pk=checkpoint_id)
    if failure:
        row.state, row.reason, row.stopped_at = InstanceState.FAILED, failure, now
        row.save(update_fields=["state", "reason", "stopped_at"])
        if checkpoint.state == CheckpointState.RESTORING:
            _lose(checkpoint, failure, now=now)
        return
    row.state, row.provider_ref, row.started_at = InstanceState.RUNNING, reference, now
    row.save(update_fields=["state", "provider_ref", "started_at"])


def _discard(checkpoint: Checkpoint, provider: Provider, *, clock: Clock) -> None:
    """Images are bounded: one that was thawed, or is of no use, goes."""
    try:
        provider.discard(str(checkpoint))
    except ProviderError as error:
        logger.warning("an image cannot be removed", extra={"reason": error.message})
        return
    done = Checkpoint.objects.filter(
        pk=checkpoint.pk, state__in=[CheckpointState.RESTORED, CheckpointState.FAILED]
    )
    if checkpoint.state == CheckpointState.FAILED:
        # a worker that was asked in vain may still come back and name it
        done = done.filter(moved_at__lte=clock() - quiet())
    done.update(state=CheckpointState.DROPPED)
