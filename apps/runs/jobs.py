"""Celery entry points of the engine; those of a pool run on the pool's own queue."""

from __future__ import annotations

import time
from datetime import datetime
from uuid import UUID

from celery import shared_task

from apps.core import clock
from apps.deployments.facts import VersionPromoted
from apps.runs.facts import BulkActionCreated, RunsReady
from apps.runs.operations import bulk, supply

_QUIET_SECONDS = 1.0
_EXPIRES_SECONDS = 10

# When this process last looked, per environment: ready runs come by the thousand.
_looked_at: dict[UUID, float] = {}


@shared_task(name="runs.advance_bulk_action")
def advance_bulk_action(bulk_action_id: str) -> None:
    if bulk.advance_bulk_action(UUID(bulk_action_id), clock=clock.now):
        _advance_soon(bulk_action_id)


def start_bulk_action(fact: BulkActionCreated) -> None:
    """Begin a bulk action at once; the engine pushes those whose word was lost."""
    _advance_soon(str(fact.bulk_action_id))


def push_bulk_actions(now: datetime) -> int:
    """Go on with bulk actions that no job seems to work on."""
    waiting = bulk.stalled_bulk_actions(now)
    for bulk_action_id in waiting:
        _advance_soon(str(bulk_action_id))
    return len(waiting)


def _advance_soon(bulk_action_id: str) -> None:
    advance_bulk_action.apply_async(args=(bulk_action_id,), queue="platform", retry=False)


@shared_task(name="runs.reconcile_pool")
def reconcile_pool(pool_name: str) -> None:
    supply.reconcile_pool(pool_name, clock=clock.now)


def kick(fact: RunsReady) -> None:
    """Ask for workers at once when runs are ready and none is there; else the period does."""
    moment = time.monotonic()
    if moment < _looked_at.get(fact.environment_id, 0) + _QUIET_SECONDS:
        return
    _looked_at[fact.environment_id] = moment
    if supply.lacks_worker(fact.environment_id, now=clock.now()):
        _reconcile_soon()


def warm_up(fact: VersionPromoted) -> None:
    """Start the first worker of a promoted version before its first run asks for one."""
    _reconcile_soon()


def _reconcile_soon() -> None:
    reconcile_pool.apply_async(
        args=(supply.DEFAULT_POOL,),
        queue=f"pool.{supply.DEFAULT_POOL}",
        expires=_EXPIRES_SECONDS,
        retry=False,  # nobody waits for the broker: the period asks again
    )
