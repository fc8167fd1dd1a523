"""Enough workers: what runs need, what pools have, and the calls that close the gap.

A reconciliation has three parts. First the provider is asked what it has. Then, in one transaction
under the pool's advisory lock, the instances' rows are brought up to what was seen and the plan is
written as rows: `starting` and `stopping` are promises. Last, outside any transaction, the
promises are kept by calls that can be repeated; one that was lost is kept by the next round.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Count, Max

from apps.core import sql
from apps.core.locks import transaction_lock, try_session_lock
from apps.core.transactions import retried
from apps.deployments.models import (
    Instance,
    InstanceState,
    Pool,
    Promotion,
    Version,
    WorkerSession,
)
from apps.deployments.providing import bundle_of, provider_of
from apps.environments.models import Environment
from apps.environments.queries import current_key, runtime_variables
from apps.environments.scope import Scope
from apps.environments.types import EnvironmentType
from apps.orgs.actors import SYSTEM
from apps.providers.errors import ProviderError
from apps.providers.protocol import Observed, Provider, WorkerSpec
from apps.runs import staffing
from apps.runs.limits import limits
from apps.runs.models import Lease, ReadyRun
from apps.runs.operations import checkpoints
from apps.runs.staffing import Group, Need, Rules, Worker
from holdfast.machines import DEFAULT_MACHINE

Clock = Callable[[], datetime]

DEFAULT_POOL = "local"
_LIVE = [InstanceState.STARTING, InstanceState.RUNNING, InstanceState.STOPPING]
_OLD_IDLE = timedelta(seconds=10)
_CRASHES_REMEMBERED = timedelta(minutes=10)
# A promise that nobody has kept for this long is taken over.
_START_PATIENCE = timedelta(seconds=15)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """`Pool.settings`, with what counts where it says nothing."""

    max_workers: int = 16
    max_per_version: int = 0  # 0: as many as this machine has processors
    slots: int = 10
    grace_seconds: float = 300
    by_machine: bool = False  # whether a worker serves only one machine preset

    @classmethod
    def of(cls, pool: Pool) -> PoolSettings:
        known = {name: pool.settings[name] for name in cls.__slots__ if name in pool.settings}
        return cls(**known)

    def rules(self) -> Rules:
        bounds = limits()
        return Rules(
            max_workers=self.max_workers,
            max_per_version=self.max_per_version or os.cpu_count() or 1,
            slots=self.slots,
            idle=timedelta(seconds=bounds.worker_idle_seconds),
            old_idle=min(_OLD_IDLE, timedelta(seconds=bounds.worker_idle_seconds)),
            connect=timedelta(seconds=2 * bounds.lease_seconds),
        )


def reconcile_pool(pool_name: str, *, clock: Clock, provider: Provider | None = None) -> None:
    """Bring the workers of a pool to what its runs need; any number may do it at once."""
    pool = Pool.objects.filter(name=pool_name).first()
    if pool is None:
        return
    provider = provider or provider_of(pool)
    asked_at = clock()
    seen = {observed.instance: observed for observed in provider.list()}
    if not seen and not _may_act(pool, provider, asked_at=asked_at):
        return
    decided = _decide(pool, seen, asked_at=asked_at)
    if decided.ended:
        _let_go(decided.ended, now=clock())
    for reference in decided.forget:
        provider.forget(reference)
    for reference in decided.strangers:
        provider.stop(reference, grace=timedelta(0))
    for instance in decided.stop:
        _stop(pool, instance, provider, clock=clock)
    for instance in decided.start:
        _start(instance, provider, clock=clock)
    checkpoints.reconcile(pool, provider, make_spec=_spec, clock=clock)


def lacks_worker(environment_id: UUID, *, now: datetime) -> bool:
    """Whether runs of this environment wait for a worker that nobody has been asked for."""
    environment = Environment.objects.filter(pk=environment_id).only("type").first()
    if environment is None or environment.type == EnvironmentType.DEVELOPMENT:
        return False
    version_id = (
        Promotion.objects.filter(environment_id=environment_id)
        .values_list("version_id", flat=True)
        .first()
    )
    if version_id is None:
        return False
    return not WorkerSession.objects.filter(
        environment_id=environment_id,
        version_id=version_id,
        disconnected_at=None,
        seen_at__gt=now - _silence(),
    ).exists()


def _may_act(pool: Pool, provider: Provider, *, asked_at: datetime) -> bool:
    """Whether there may be anything to do though the provider has nothing, as when all is idle."""
    if provider.capabilities.checkpoint:
        return True  # images may wait to be thawed
    since = asked_at - timedelta(seconds=limits().worker_idle_seconds)
    (found,) = sql.rows(sql.load("runs", "pool_may_act"), {"pool": pool.pk, "since": since})
    return bool(found["may_act"])


@dataclass(slots=True)
class _Decided:
    """What the transaction promised, and what it has seen the end of."""

    ended: list[UUID]
    start: list[Instance]
    stop: list[Instance]
    forget: list[str]
    strangers: list[str]


@transaction.atomic
def _decide(pool: Pool, seen: Mapping[str, Observed], *, asked_at: datetime) -> _Decided:
    transaction_lock(f"pool:{pool.name}")
    rows = list(Instance.objects.select_for_update(of=("self",)).filter(pool=pool, state__in=_LIVE))
    frozen, thawing = checkpoints.under_way(pool)
    for row in rows:
        if row.id not in frozen:
            _see(row, seen.get(str(row.id)), asked_at=asked_at)
    live = [row for row in rows if row.state in _LIVE]
    config = PoolSettings.of(pool)
    needs = _needs(pool, live, config, now=asked_at)
    workers = _workers(live, needs, slots=config.slots, now=asked_at)
    plan = staffing.plan(needs.values(), workers, rules=config.rules(), now=asked_at)
    by_id = {row.id: row for row in live}
    for stop in plan.stops:
        _promise_stop(by_id[stop.instance_id], stop.reason, now=asked_at)
    new = [_promise_start(pool, group, now=asked_at) for group in plan.starts]
    return _Decided(
        ended=[row.id for row in rows if row.state not in _LIVE and str(row.id) in seen],
        start=new
        + [row for row in live if row.id not in thawing and _is_overdue(row, now=asked_at)],
        stop=[row for row in live if row.state == InstanceState.STOPPING],
        forget=[one.reference for one in seen.values() if _is_over(one, by_id)],
        strangers=_strangers(seen, rows),
    )


def _see(row: Instance, seen: Observed | None, *, asked_at: datetime) -> None:
    """Bring a row up to what the provider says of it."""
    if seen is not None and seen.is_alive:
        if row.state == InstanceState.STARTING:
            _mark_running(row, seen.reference, now=seen.started_at)
    elif seen is not None:
        was_asked = row.state == InstanceState.STOPPING or seen.exit_code == 0
        _end(row, seen.reason, is_failure=not was_asked, now=asked_at)
    elif row.started_at is not None and row.started_at < asked_at:
        reason = row.reason or "The provider does not know it any more"
        _end(row, reason, is_failure=row.state != InstanceState.STOPPING, now=asked_at)
    elif row.state == InstanceState.STOPPING:
        _end(row, row.reason, is_failure=False, now=asked_at)  # it was never started


def _mark_running(row: Instance, reference: str, *, now: datetime) -> None:
    row.state, row.provider_ref, row.started_at = InstanceState.RUNNING, reference, now
    row.save(update_fields=["state", "provider_ref", "started_at"])


def _end(row: Instance, reason: str, *, is_failure: bool, now: datetime) -> None:
    row.state = InstanceState.FAILED if is_failure else InstanceState.STOPPED
    # Why it was stopped says more than how it then ended.
    row.reason = row.reason or reason
    row.stopped_at = now
    row.save(update_fields=["state", "reason", "stopped_at"])


def _promise_stop(row: Instance, reason: str, *, now: datetime) -> None:
    row.state, row.reason, row.stopping_at = InstanceState.STOPPING, reason, now
    row.save(update_fields=["state", "reason", "stopping_at"])


def _promise_start(pool: Pool, group: Group, *, now: datetime) -> Instance:
    return Instance.objects.create(
        pool=pool,
        environment_id=group.environment_id,
        version_id=group.version_id,
        machine=group.machine,
        created_at=now,
        busy_at=now,
    )


def _is_overdue(row: Instance, *, now: datetime) -> bool:
    return row.state == InstanceState.STARTING and row.created_at <= now - _START_PATIENCE


def _is_over(seen: Observed, live: Mapping[UUID, Instance]) -> bool:
    return not seen.is_alive and UUID(seen.instance) not in live


def _strangers(seen: Mapping[str, Observed], rows: Sequence[Instance]) -> list[str]:
    """Workers that are alive and, as far as we know, ended or never asked for."""
    known = {str(row.id) for row in rows if row.state in _LIVE}
    return [one.reference for name, one in seen.items() if one.is_alive and name not in known]


@retried
def _let_go(instance_ids: Sequence[UUID], *, now: datetime) -> None:
    """Let the leases of workers that were seen dead end now, not only when they run out."""
    sessions = WorkerSession.objects.filter(instance_id__in=instance_ids)
    ids = list(sessions.values_list("id", flat=True))
    sessions.filter(disconnected_at=None).update(disconnected_at=now)
    Lease.objects.filter(session_id__in=ids, expires_at__gt=now).update(expires_at=now)


# -- What the plan is made from ------------------------------------------------------------------


def _needs(
    pool: Pool, live: Sequence[Instance], config: PoolSettings, *, now: datetime
) -> dict[Group, Need]:
    ready = _ready(config, now=now)
    warm = _warmth(config, now=now)
    startable = _startable({*ready, *warm})
    groups = startable | {_group(row) for row in live}
    crashes = _crashes(pool, groups, now=now)
    current = set(
        Promotion.objects.filter(
            environment_id__in={group.environment_id for group in groups}
        ).values_list("version_id", flat=True)
    )
    needs = {}
    for group in groups:
        count, crashed_at = crashes.get((group.version_id, group.machine), (0, None))
        needs[group] = Need(
            group=group,
            ready=ready.get(group, 0) if group in startable else 0,
            is_current=group.version_id in current,
            warm_since=warm.get(group),
            crashes=count,
            crashed_at=crashed_at,
        )
    return needs


def _startable(groups: set[Group]) -> set[Group]:
    """Those whose version was shipped to us; others run where their owners run them."""
    shipped = set(
        Version.objects.filter(id__in={group.version_id for group in groups})
        .exclude(archive="")
        .values_list("id", flat=True)
    )
    return {group for group in groups if group.version_id in shipped}


def _ready(config: PoolSettings, *, now: datetime) -> dict[Group, int]:
    counts: dict[Group, int] = {}
    most = config.slots * config.max_workers
    for row in sql.rows(sql.load("runs", "demand"), {"most": most, "now": now}):
        group = Group(
            environment_id=row["environment_id"],
            version_id=row["version_id"],
            machine=row["machine"] if config.by_machine else "",
        )
        counts[group] = counts.get(group, 0) + row["ready"]
    return counts


def _warmth(config: PoolSettings, *, now: datetime) -> dict[Group, datetime]:
    """Current versions that were promoted, or had a busy worker, within the idle time."""
    since = now - timedelta(seconds=limits().worker_idle_seconds)
    deployed = Promotion.objects.exclude(environment__type=EnvironmentType.DEVELOPMENT).filter(
        environment__archived_at=None
    )
    first = DEFAULT_MACHINE if config.by_machine else ""
    found = {
        Group(environment_id=environment_id, version_id=version_id, machine=first): promoted_at
        for environment_id, version_id, promoted_at in deployed.filter(
            promoted_at__gt=since
        ).values_list("environment_id", "version_id", "promoted_at")
    }
    busy = Instance.objects.filter(
        busy_at__gt=since, version__promotions__isnull=False
    ).values_list("environment_id", "version_id", "machine")
    for environment_id, version_id, machine, busy_at in busy.annotate(latest=Max("busy_at")):
        group = Group(environment_id=environment_id, version_id=version_id, machine=machine)
        found[group] = max(busy_at, found.get(group, busy_at))
    return found


def _crashes(
    pool: Pool, groups: Iterable[Group], *, now: datetime
) -> dict[tuple[UUID, str], tuple[int, datetime]]:
    rows = (
        Instance.objects.filter(
            pool=pool,
            state=InstanceState.FAILED,
            stopped_at__gt=now - _CRASHES_REMEMBERED,
            version_id__in={group.version_id for group in groups},
        )
        .values_list("version_id", "machine")
        .annotate(count=Count("id"), latest=Max("stopped_at"))
    )
    return {(version_id, machine): (count, at) for version_id, machine, count, at in rows}


def _workers(
    live: Sequence[Instance], needs: Mapping[Group, Need], *, slots: int, now: datetime
) -> list[Worker]:
    """The live instances with what their sessions hold; remembers which of them are busy."""
    sessions = _latest_sessions(live)
    held = _held(sessions.values())
    workers, busy = [], []
    for row in live:
        session = sessions.get(row.id)
        is_connected = session is not None and _is_connected(session, now=now)
        in_hand = held.get(session.id, 0) if session else 0
        if in_hand or needs[_group(row)].ready:
            row.busy_at = now
            busy.append(row.id)
        workers.append(
            Worker(
                instance_id=row.id,
                group=_group(row),
                is_stopping=row.state == InstanceState.STOPPING,
                held=in_hand,
                # A worker says 0 until it has imported its project, which it is about to do.
                slots=(session.capacity or slots) if session and is_connected else None,
                busy_at=row.busy_at or row.created_at,
                silent_since=None if is_connected else _silent_since(row, session),
            )
        )
    Instance.objects.filter(pk__in=busy).update(busy_at=now)
    return workers


def _is_connected(session: WorkerSession, *, now: datetime) -> bool:
    """A coordinator that was killed has not said goodbye for its sessions."""
    return session.disconnected_at is None and session.seen_at > now - _silence()


def _silence() -> timedelta:
    return timedelta(seconds=limits().lease_seconds)


def _silent_since(row: Instance, session: WorkerSession | None) -> datetime:
    return (session.disconnected_at or session.seen_at) if session else row.created_at


def _latest_sessions(live: Sequence[Instance]) -> dict[UUID, WorkerSession]:
    rows = WorkerSession.objects.filter(instance_id__in=[row.id for row in live])
    # The latest of each instance wins; one that is connected is the latest by nature.
    return {row.instance_id: row for row in rows.order_by("connected_at") if row.instance_id}


def _held(sessions: Iterable[WorkerSession]) -> dict[UUID, int]:
    """Runs per session: executing, suspended in memory, or about to resume there."""
    ids = [session.id for session in sessions]
    counts: dict[UUID, int] = {}
    for model in (Lease, ReadyRun):
        rows = model.objects.filter(session_id__in=ids).values_list("session_id")
        for session_id, count in rows.annotate(count=Count("run_id")):
            counts[session_id] = counts.get(session_id, 0) + count
    return counts


def _group(row: Instance) -> Group:
    return Group(environment_id=row.environment_id, version_id=row.version_id, machine=row.machine)


# -- Promises kept -------------------------------------------------------------------------------


def _start(row: Instance, provider: Provider, *, clock: Clock) -> None:
    """Start a promised worker; a failure is the row's reason, and the next round's business."""
    with try_session_lock(f"instance:{row.id}") as is_mine:
        if not is_mine:
            return
        try:
            reference = provider.start(_spec(row))
        except ProviderError as error:
            _settle(row, clock=clock, failure=error.message)
        except Exception as error:  # whatever it is, the other promises are kept all the same
            logger.exception("a worker cannot be started", extra={"instance": str(row.id)})
            _settle(row, clock=clock, failure=f"Holdfast could not start it: {error}")
        else:
            _settle(row, clock=clock, reference=reference)


@transaction.atomic
def _settle(row: Instance, *, clock: Clock, reference: str = "", failure: str = "") -> None:
    locked = Instance.objects.select_for_update(of=("self",)).get(pk=row.pk)
    if locked.state != InstanceState.STARTING:
        return
    if failure:
        _end(locked, failure, is_failure=True, now=clock())
    else:
        _mark_running(locked, reference, now=clock())


def _stop(pool: Pool, row: Instance, provider: Provider, *, clock: Clock) -> None:
    """Ask, and kill once the grace is over: the provider counts from the first time."""
    grace = timedelta(seconds=PoolSettings.of(pool).grace_seconds)
    try:
        provider.stop(row.provider_ref or str(row.id), grace=grace)
    except ProviderError as error:
        logger.warning("a worker cannot be stopped", extra={"reason": error.message})


def _spec(row: Instance) -> WorkerSpec:
    version = Version.objects.get(pk=row.version_id)
    environment = Environment.objects.get(pk=row.environment_id)
    return WorkerSpec(
        instance=str(row.id),
        bundle=bundle_of(
            archive=version.archive,
            sha256=version.archive_sha256,
            python_version=version.python_version,
        ),
        machine=row.machine,
        variables=runtime_variables(environment) | _own_variables(row, version, environment),
    )


def _own_variables(row: Instance, version: Version, environment: Environment) -> dict[str, str]:
    """What tells a worker who it is and whom it works for; the customer cannot change these."""
    pool = row.pool
    found: dict[str, Any] = {
        "HOLDFAST_API_URL": settings.SERVER_URL,
        "HOLDFAST_SECRET_KEY": current_key(_scope(environment)),
        "HOLDFAST_BRANCH": environment.branch,
        "HOLDFAST_VERSION": version.number,
        "HOLDFAST_INSTANCE": str(row.id),
        "HOLDFAST_POOL": pool.name,
        "HOLDFAST_MACHINE": row.machine,
        "HOLDFAST_CAPACITY": str(PoolSettings.of(pool).slots),
    }
    return {name: value for name, value in found.items() if value is not None}


def _scope(environment: Environment) -> Scope:
    return Scope(
        actor=SYSTEM,
        organization_id=environment.organization_id,
        project_id=environment.project_id,
        environment_id=environment.id,
    )
