"""Why a run is not running: the one thing that holds it up now, in words and as data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet, Sum

from apps.core.ids import public_id
from apps.deployments.models import Promotion, WorkerSession
from apps.environments.models import Environment
from apps.runs.models import EnvironmentSlots, Lane, Lease, QueueSlots, ReadyRun, Run, Wait
from apps.runs.states import RunStatus
from apps.runs.waits import why_waiting

HOLDERS_SHOWN = 10
MOST_AHEAD = 1_000
_MOMENT = "%Y-%m-%d %H:%M:%S"


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotHolder:
    """A run that holds a slot, and since when."""

    run_id: UUID
    task: str
    queue: str
    key: str
    since: datetime

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {
            "run_id": public_id("run", self.run_id), "since": self.since.isoformat(),
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What holds a run up: `kind` names the blocker, `detail` has its numbers, by camelCase name.

    Kinds: ended, canceling, unknown_task, delayed, waiting, starting, executing,
    paused_environment, paused_queue, organization_limit, environment_limit, queue_limit, key_limit,
    rate_limit, key_rate_limit, held_by_worker, behind_others, no_worker, workers_full,
    about_to_be_queued.
    """

    kind: str
    text: str
    detail: dict[str, Any] = field(default_factory=dict)
    holders: tuple[SlotHolder, ...] = ()


def explain_run(run: Run) -> Explanation:
    """What a run is doing and, when it is not executing, what it waits for."""
    if run.is_final:
        text = f"It has ended: {run.status_reason or run.status.lower()}."
        return Explanation(kind="ended", text=text)
    if run.cancel_requested_at:
        text = "It is being canceled: its worker has been told to stop it."
        return Explanation(kind="canceling", text=text)
    return _EXPLANATIONS[RunStatus(run.status)](run)


def slot_holders(
    environments: list[UUID], *, queue: str | None = None, key: str | None = None, most: int
) -> list[SlotHolder]:
    """The runs that hold slots of these environments, the longest first."""
    leases: QuerySet[Lease] = Lease.objects.filter(
        environment_id__in=environments, holds_slot=True
    ).select_related("lane")
    if queue is not None:
        leases = leases.filter(lane__queue=queue)
    if key is not None:
        leases = leases.filter(lane__key=key)
    rows = list(leases.order_by("claimed_at", "run_id")[:most])
    tasks = dict(Run.objects.filter(pk__in=[row.run_id for row in rows]).values_list("pk", "task"))
    return [
        SlotHolder(
            run_id=row.run_id,
            task=tasks.get(row.run_id, ""),
            queue=row.lane.queue,
            key=row.lane.key,
            since=row.claimed_at,
        )
        for row in rows
    ]


# -- By status -----------------------------------------------------------------------------------


def _unknown_task(run: Run) -> Explanation:
    text = f"No promoted version has a task {run.task!r} yet; it is queued when one comes."
    return Explanation(kind="unknown_task", text=text, detail={"task": run.task})


def _delayed(run: Run) -> Explanation:
    moment = f"{run.delayed_until:{_MOMENT}} UTC"
    if run.delivery_count:
        text = (
            f"Workers gave it back, saying {run.status_reason!r}; it is queued again at {moment}."
        )
    else:
        text = f"It will be {'tried again' if run.attempt_count else 'queued'} at {moment}."
    return Explanation(kind="delayed", text=text, detail={"until": _iso(run.delayed_until)})


def _waiting(run: Run) -> Explanation:
    count = Wait.objects.filter(run_id=run.pk, waitpoint__completed_at=None).count()
    return Explanation(kind="waiting", text=why_waiting(run), detail={"waitpoints": count})


def _executing(run: Run) -> Explanation:
    if Lease.objects.filter(pk=run.pk, is_started=False).exists():
        return Explanation(kind="executing", text="Its worker is about to try it again.")
    return Explanation(kind="executing", text="It is executing.")


def _starting(_run: Run) -> Explanation:
    text = "A worker has been given it and is about to start it."
    return Explanation(kind="starting", text=text)


def _queued(run: Run) -> Explanation:
    ready = ReadyRun.objects.select_related("lane__slots").filter(pk=run.pk).first()
    if ready is None:
        return Explanation(kind="about_to_be_queued", text="It is about to be queued.")
    environment = Environment.objects.select_related("organization").get(pk=run.environment_id)
    if found := _barred(run, ready.lane, environment):
        return found
    if ready.session_id:
        text = "What it waited for has happened; it goes on when its worker has a free place."
        return Explanation(kind="held_by_worker", text=text)
    return _behind(ready) or _no_worker(run, ready)


# -- What bars a queued run, from the top down ---------------------------------------------------


def _barred(run: Run, lane: Lane, environment: Environment) -> Explanation | None:
    if environment.paused_at:
        detail = {"since": _iso(environment.paused_at)}
        return Explanation(
            kind="paused_environment", text="Its environment is paused.", detail=detail
        )
    if lane.slots.is_paused:
        text = f"Its queue {run.queue!r} is paused."
        return Explanation(kind="paused_queue", text=text, detail={"queue": run.queue})
    return (
        _at_key_limit(run, lane)
        or _at_queue_limit(run, lane.slots)
        or _at_environment_limit(run, environment)
        or _at_share(run, lane.slots, environment)
        or _at_organization_limit(environment)
        or _held(run, lane)
    )


def _at_key_limit(run: Run, lane: Lane) -> Explanation | None:
    if lane.cap is None or lane.used < lane.cap:
        return None
    if lane.task:
        text = f"Another run of {lane.task!r} is executing, and it lets one execute at a time."
    else:
        key = f" for key {run.concurrency_key!r}" if run.concurrency_key else ""
        text = f"Its queue {run.queue!r} is at its concurrency limit of {lane.cap}{key}."
    holders = slot_holders(
        [run.environment_id], queue=lane.queue, key=lane.key, most=HOLDERS_SHOWN
    )  # fmt: skip
    detail = {"queue": run.queue, "key": run.concurrency_key, "limit": lane.cap, "used": lane.used}
    return Explanation(kind="key_limit", text=text, detail=detail, holders=tuple(holders))


def _at_queue_limit(run: Run, slots: QueueSlots) -> Explanation | None:
    if slots.cap is None or slots.used < slots.cap:
        return None
    text = f"Its queue {run.queue!r} is at its total limit of {slots.cap} over all keys."
    return _full_queue(run, slots, slots.cap, text)


def _at_share(run: Run, slots: QueueSlots, environment: Environment) -> Explanation | None:
    """One queue alone may not use what an environment has beyond its limit to burst."""
    limit = environment.concurrency_limit
    if slots.used < limit:
        return None
    over = "which is its environment's without the burst"
    text = f"Its queue {run.queue!r} is at the limit of {limit}, {over}."
    return _full_queue(run, slots, limit, text)


def _full_queue(run: Run, slots: QueueSlots, limit: int, text: str) -> Explanation:
    holders = slot_holders([run.environment_id], queue=run.queue, most=HOLDERS_SHOWN)
    detail = {"queue": run.queue, "limit": limit, "used": slots.used}
    return Explanation(kind="queue_limit", text=text, detail=detail, holders=tuple(holders))


def _at_environment_limit(run: Run, environment: Environment) -> Explanation | None:
    slots = EnvironmentSlots.objects.filter(pk=run.environment_id).first()
    most = int(environment.concurrency_limit * environment.burst_factor)
    if slots is None or slots.used < most:
        return None
    text = f"Its environment is at its concurrency limit of {most}."
    holders = slot_holders([run.environment_id], most=HOLDERS_SHOWN)
    detail = {"limit": most, "used": slots.used}
    return Explanation(kind="environment_limit", text=text, detail=detail, holders=tuple(holders))


def _at_organization_limit(environment: Environment) -> Explanation | None:
    limit = environment.organization.concurrency_limit
    if limit is None:
        return None
    slots = EnvironmentSlots.objects.filter(environment__organization=environment.organization_id)
    used = slots.aggregate(used=Sum("used"))["used"] or 0
    if used < limit:
        return None
    own = slots.filter(pk=environment.pk).values_list("used", flat=True).first() or 0
    text = f"Its organization is at its concurrency limit of {limit} over all environments."
    holders = slot_holders([environment.pk], most=HOLDERS_SHOWN)  # others are not ours to show
    detail = {"limit": limit, "used": used, "usedElsewhere": used - own}
    return Explanation(kind="organization_limit", text=text, detail=detail, holders=tuple(holders))


def _held(run: Run, lane: Lane) -> Explanation | None:
    """By a rate: it is held until a moment that is known."""
    slots = lane.slots
    if slots.held_until:
        rate = _rate(slots.rate_limit, slots.rate_seconds)
        text = (
            f"Its queue {run.queue!r} has started as many runs as its rate of {rate} allows so far"
        )
        return _at_rate("rate_limit", text, run, slots.held_until)
    if lane.held_until:
        rate = _rate(slots.key_rate_limit, slots.key_rate_seconds)
        text = (
            f"Its queue {run.queue!r} has started as many runs of the key "
            f"{run.concurrency_key or ''!r} as its rate of {rate} for each key allows so far"
        )
        return _at_rate("key_rate_limit", text, run, lane.held_until)
    return None


def _at_rate(kind: str, text: str, run: Run, until: datetime) -> Explanation:
    detail = {"queue": run.queue, "key": run.concurrency_key, "until": _iso(until)}
    return Explanation(
        kind=kind, text=f"{text}; the next may start at {until:{_MOMENT}} UTC.", detail=detail
    )


def _rate(limit: int | None, seconds: float | None) -> str:
    return f"{limit} per {seconds or 0:g} s"


# -- Nothing bars it -----------------------------------------------------------------------------


def _behind(ready: ReadyRun) -> Explanation | None:
    older = ReadyRun.objects.filter(lane=ready.lane, session_id=None).filter(
        Q(order_at__lt=ready.order_at) | Q(order_at=ready.order_at, run_id__lt=ready.run_id)
    )
    ahead = older[:MOST_AHEAD].count()
    if not ahead:
        return None
    count = f"At least {ahead}" if ahead == MOST_AHEAD else str(ahead)
    are = "runs of its queue are" if ahead > 1 else "run of its queue is"
    detail = {"ahead": ahead, "isExact": ahead < MOST_AHEAD, "queue": ready.lane.queue}
    return Explanation(
        kind="behind_others", text=f"{count} {are} ahead of it.", detail=detail
    )  # fmt: skip


def _no_worker(run: Run, ready: ReadyRun) -> Explanation:
    current = Promotion.objects.filter(environment_id=run.environment_id)
    versions = (
        [ready.version_id]
        if ready.version_id
        else list(current.values_list("version_id", flat=True))
    )
    connected = WorkerSession.objects.filter(
        environment_id=run.environment_id, version_id__in=versions, disconnected_at=None,
        machine__in=["", run.machine],
    )  # fmt: skip
    version = f" of version {run.version_number}" if ready.version_id else ""
    detail = {"version": run.version_number, "machine": run.machine}
    if connected.exists():
        text = f"No connected worker{version} has a free place for it."
        return Explanation(kind="workers_full", text=text, detail=detail)
    text = f"No worker{version} for machine {run.machine} is connected."
    return Explanation(kind="no_worker", text=text, detail=detail)


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


_EXPLANATIONS: dict[RunStatus, Callable[[Run], Explanation]] = {
    RunStatus.PENDING_VERSION: _unknown_task,
    RunStatus.DELAYED: _delayed,
    RunStatus.QUEUED: _queued,
    RunStatus.DEQUEUED: _starting,
    RunStatus.EXECUTING: _executing,
    RunStatus.WAITING: _waiting,
}
