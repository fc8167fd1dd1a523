"""Bulk actions: cancel or replay many runs, in bounded steps that a job takes one after the other.

A step is safe to repeat: what became of a run is written with the action on it, in one transaction,
and a run that has its row is not acted on again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F

from apps.core.errors import Conflict, DomainError, Invalid, NotFound
from apps.core.facts import publish
from apps.core.ids import floor
from apps.core.locks import transaction_lock, try_session_lock
from apps.core.transactions import retried
from apps.environments.models import Environment
from apps.environments.scope import Scope
from apps.orgs.actors import SYSTEM
from apps.orgs.audit import record
from apps.orgs.permissions import Permission, require
from apps.runs.facts import BulkActionCreated
from apps.runs.limits import limits
from apps.runs.models import BulkAction, BulkItem, Run, RunQuerySet
from apps.runs.operations.cancel import cancel_run
from apps.runs.operations.replay import replay_run
from apps.runs.queries import RunFilters, filtered_runs
from apps.runs.states import FINAL, BulkKind, BulkStatus

STEP = 50
DEFAULT_PERIOD = timedelta(days=7)
_STALLED = timedelta(seconds=30)
_NAME_LENGTH = 255
_TIMES = ("created_from", "created_to")
_IDS = ("batch_id", "schedule_id", "bulk_action_id")
_PERMISSIONS = {BulkKind.CANCEL: Permission.RUNS_WRITE, BulkKind.REPLAY: Permission.RUNS_TRIGGER}


@transaction.atomic
def create_bulk_action(
    scope: Scope,
    *,
    kind: BulkKind,
    filters: RunFilters | None = None,
    run_ids: Iterable[UUID] = (),
    name: str = "",
    now: datetime,
) -> BulkAction:
    """Ask for many runs to be canceled or replayed: those of a filter, or these.

    A filter reaches back seven days unless it names a time, and never to runs that come later.
    """
    require(scope.actor, _PERMISSIONS[kind])
    wanted = list(dict.fromkeys(run_ids))
    _check(filters, wanted, name)
    transaction_lock(f"bulk:{scope.environment_id}")
    open_ones = BulkAction.objects.filter(
        environment_id=scope.environment_id, status=BulkStatus.PENDING
    )
    if open_ones.count() >= limits().bulk_actions:
        raise Invalid(
            f"an environment may have {limits().bulk_actions} bulk actions at work: wait for one",
            detail={"action": ["too many at work"]},
        )
    action = BulkAction.objects.create(
        environment_id=scope.environment_id,
        kind=kind,
        name=name,
        filters=None if filters is None else _kept(_bounded(filters, now)),
        run_ids=wanted,
        created_at=now,
        updated_at=now,
    )
    record(
        scope.organization,
        action=f"runs.bulk_{kind}",
        target=("bulk_action", action.pk),
        detail={"filters": action.filters, "runs": len(wanted), "name": name},
        now=now,
    )
    publish(BulkActionCreated(bulk_action_id=action.pk, environment_id=scope.environment_id))
    return action


@transaction.atomic
def abort_bulk_action(scope: Scope, *, bulk_action_id: UUID, now: datetime) -> BulkAction:
    """Let no further run be acted on; what was done stays done."""
    mine = BulkAction.objects.select_for_update(no_key=True)
    action = mine.filter(pk=bulk_action_id, environment_id=scope.environment_id).first()
    if action is None:
        raise NotFound("There is no such bulk action in this environment")
    require(scope.actor, _PERMISSIONS[BulkKind(action.kind)])
    if action.status == BulkStatus.COMPLETED:
        raise Conflict("this bulk action has completed")
    if action.status == BulkStatus.PENDING:
        action.status, action.completed_at, action.updated_at = BulkStatus.ABORTED, now, now
        action.save(update_fields=["status", "completed_at", "updated_at"])
        record(
            scope.organization,
            action="runs.bulk_aborted",
            target=("bulk_action", action.pk),
            detail={"success": action.success_count, "failure": action.failure_count},
            now=now,
        )
    return action


def advance_bulk_action(bulk_action_id: UUID, *, clock: Callable[[], datetime]) -> bool:
    """Take one step; returns whether there is more to do. One job at a time works on an action."""
    with try_session_lock(f"bulk-step:{bulk_action_id}") as is_mine:
        return is_mine and _step(bulk_action_id, clock)


def _step(bulk_action_id: UUID, clock: Callable[[], datetime]) -> bool:
    action = BulkAction.objects.filter(pk=bulk_action_id, status=BulkStatus.PENDING).first()
    if action is None:
        return False
    _count(action)
    runs = _next_runs(action)
    scope = _scope(action)
    for run_id in runs:
        if not _act(scope, action, run_id, now=clock()):
            return False
    if len(runs) < STEP:
        _complete(action, now=clock())
        return False
    BulkAction.objects.filter(pk=action.pk).update(cursor=runs[-1], updated_at=clock())
    return True


def _count(action: BulkAction) -> None:
    if action.total_count is None:
        action.total_count = len(action.run_ids) or _wanted(action).count()
        action.save(update_fields=["total_count"])


def _next_runs(action: BulkAction) -> list[UUID]:
    """The next runs, newest first; those that have been acted on are gone through once more."""
    if action.filters is None:
        chosen = sorted(action.run_ids, reverse=True)
        return [run_id for run_id in chosen if not action.cursor or run_id < action.cursor][:STEP]
    wanted = _wanted(action)
    if action.cursor:
        wanted = wanted.filter(pk__lt=action.cursor)
    return list(wanted.order_by("-pk").values_list("pk", flat=True)[:STEP])


def _wanted(action: BulkAction) -> RunQuerySet:
    runs = filtered_runs(action.environment_id, _read(action.filters or {}))
    return runs.open() if action.kind == BulkKind.CANCEL else runs


def _act(scope: Scope, action: BulkAction, run_id: UUID, *, now: datetime) -> bool:
    """Act on one run; False when the action was aborted meanwhile."""
    try:
        return _act_once(scope, action, run_id, now=now)
    except DomainError as error:
        return _note_failure(action, run_id, error.message, now=now)


@retried
def _act_once(scope: Scope, action: BulkAction, run_id: UUID, *, now: datetime) -> bool:
    if not _is_open(action) or BulkItem.objects.filter(action_id=action.pk, run_id=run_id).exists():
        return _is_open(action)
    result = None
    if action.kind == BulkKind.REPLAY:
        result = replay_run(scope, run_id=run_id, overrides={}, now=now).run_id
    elif not _cancel(scope, run_id, now=now):
        raise Conflict("the run had ended")
    BulkItem.objects.create(action_id=action.pk, run_id=run_id, result_run_id=result)
    _add(action, now=now, success_count=1)
    return True


def _cancel(scope: Scope, run_id: UUID, *, now: datetime) -> bool:
    before = Run.objects.within(scope.environment_id).filter(pk=run_id)
    if before.filter(status__in=FINAL).exists():
        return False
    cancel_run(scope, run_id=run_id, reason="canceled in bulk", now=now)
    return True


@retried
def _note_failure(action: BulkAction, run_id: UUID, reason: str, *, now: datetime) -> bool:
    BulkItem.objects.create(action_id=action.pk, run_id=run_id, error=reason[:1_000])
    _add(action, now=now, failure_count=1)
    return _is_open(action)


def _is_open(action: BulkAction) -> bool:
    return BulkAction.objects.filter(pk=action.pk, status=BulkStatus.PENDING).exists()


def _add(action: BulkAction, *, now: datetime, **counts: int) -> None:
    changes: dict[str, Any] = {name: F(name) + count for name, count in counts.items()}
    BulkAction.objects.filter(pk=action.pk).update(updated_at=now, **changes)


@transaction.atomic
def _complete(action: BulkAction, *, now: datetime) -> None:
    BulkAction.objects.filter(pk=action.pk, status=BulkStatus.PENDING).update(
        status=BulkStatus.COMPLETED, completed_at=now, updated_at=now
    )


def _scope(action: BulkAction) -> Scope:
    """Whoever asked was allowed to; a person who has left meanwhile does not stop it halfway."""
    environment = Environment.objects.get(pk=action.environment_id)
    return Scope(
        actor=SYSTEM,
        organization_id=environment.organization_id,
        project_id=environment.project_id,
        environment_id=environment.pk,
    )


def stalled_bulk_actions(now: datetime) -> list[UUID]:
    """The actions that nobody has advanced for a while."""
    late = BulkAction.objects.filter(status=BulkStatus.PENDING, updated_at__lt=now - _STALLED)
    return list(late.order_by("updated_at").values_list("pk", flat=True)[:100])


@retried
def forget_bulk_actions(now: datetime) -> int:
    """Remove old bulk actions with what is written of their runs; the runs stay."""
    before = floor(now - timedelta(days=limits().bulk_days))
    old = BulkAction.objects.filter(pk__lt=before, completed_at__isnull=False)
    keys = list(old.order_by("pk").values_list("pk", flat=True)[:10])
    BulkAction.objects.filter(pk__in=keys).delete()
    return len(keys)


# -- Filters as they are kept ------------------------------------------------------------------


def _check(filters: RunFilters | None, run_ids: list[UUID], name: str) -> None:
    if (filters is None) == (not run_ids):
        raise Invalid(
            "a bulk action has either a filter or runIds",
            detail={"filter": ["either a filter or runIds"]},
        )
    if filters is not None and filters == RunFilters():
        raise Invalid("the filter is empty: name at least one", detail={"filter": ["is empty"]})
    if len(run_ids) > limits().bulk_runs:
        raise Invalid(
            f"a bulk action may name {limits().bulk_runs} runs, this one names {len(run_ids)}",
            detail={"runIds": ["too many"]},
        )
    if len(name) > _NAME_LENGTH:
        raise Invalid(
            f"a name has at most {_NAME_LENGTH} characters", detail={"name": ["too long"]}
        )


def _bounded(filters: RunFilters, now: datetime) -> RunFilters:
    return replace(
        filters,
        created_from=filters.created_from or now - DEFAULT_PERIOD,
        created_to=min(filters.created_to or now, now),
    )


def _kept(filters: RunFilters) -> dict[str, Any]:
    """What is set of a filter, as JSON."""
    found = {name: value for name, value in asdict(filters).items() if value not in (None, ())}
    texts = {name: found[name].isoformat() for name in _TIMES if name in found}
    ids = {name: str(found[name]) for name in _IDS if name in found}
    return {**found, **texts, **ids}


def _read(kept: Mapping[str, Any]) -> RunFilters:
    found: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in kept.items()
    }
    times = {name: datetime.fromisoformat(found[name]) for name in _TIMES if name in found}
    ids = {name: UUID(found[name]) for name in _IDS if name in found}
    return RunFilters(**{**found, **times, **ids})
