"""Accept runs: many in one transaction, each exactly once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

from apps.core.errors import Conflict, Invalid, NotFound
from apps.core.ids import new_id
from apps.core.transactions import retried
from apps.deployments import definitions
from apps.deployments.definitions import TaskDefinition, VersionRef
from apps.environments.models import Environment
from apps.environments.scope import Scope
from apps.environments.types import EnvironmentType
from apps.runs import policy
from apps.runs.errors import WaitCycle
from apps.runs.limits import Limits, limits
from apps.runs.models import PendingRun, Run, RunEvent, RunTag, Timer
from apps.runs.operations.keys import Hold, hold_keys
from apps.runs.operations.queueing import Ready, make_ready
from apps.runs.operations.waiting import waitpoint_for_run
from apps.runs.schemas import check_schema
from apps.runs.states import KeyKind, RunStatus, TimerKind

_REQUEST_KEY_LIFE = timedelta(hours=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerRequest:
    """What a caller asks for; None means the task's, or else the platform's, default.

    `ttl` of zero means that the run never expires. `token_digest` is a one-time public token that
    this run consumes, `request_key` one logical call of a client whose retries must not count.
    """

    task: str
    payload: str | None = None
    payload_type: str = "application/json"
    queue: str | None = None
    concurrency_key: str | None = None
    idempotency_key: str | None = None
    idempotency_ttl: timedelta | None = None
    idempotency_options: dict[str, Any] | None = None
    request_key: str | None = None
    token_digest: bytes | None = None
    delay_until: datetime | None = None
    ttl: timedelta | None = None
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] | None = None
    metadata_type: str = "application/json"
    machine: str | None = None
    max_attempts: int | None = None
    max_duration_seconds: int | None = None
    priority_seconds: float = 0
    is_test: bool = False
    version: str | None = None
    parent_run_id: UUID | None = None
    resume_parent: bool = False
    batch_id: UUID | None = None
    batch_index: int | None = None
    source: str = "api"
    traceparent: str | None = None
    replay_of_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Triggered:
    """The run that answers a request; `waitpoint_id` when its parent waits for it."""

    run_id: UUID
    is_cached: bool
    waitpoint_id: UUID | None = None


def trigger_run(scope: Scope, *, request: TriggerRequest, now: datetime) -> Triggered:
    """Accept one run."""
    return trigger_runs(scope, requests=[request], now=now)[0]


@retried
def trigger_runs(
    scope: Scope, *, requests: Sequence[TriggerRequest], now: datetime
) -> list[Triggered]:
    """Accept runs, all or none; an idempotency key that is live answers with its run."""
    bounds = limits()
    for request in requests:
        _check(request, bounds)
    parents = _parents(scope, requests)
    ids = [new_id() for _ in requests]
    owners = _claim_keys(scope, requests, ids, now=now)
    fresh = [index for index, run_id in enumerate(ids) if owners[index] == run_id]
    runs = _build(scope, [(ids[i], requests[i]) for i in fresh], parents, now=now)
    _store(scope, runs, now=now)
    return [
        Triggered(
            run_id=owner,
            is_cached=owner != run_id and request.idempotency_key is not None,
            waitpoint_id=_waitpoint(scope, request, parents, owner, now=now),
        )
        for request, run_id, owner in zip(requests, ids, owners, strict=True)
    ]


def _check(request: TriggerRequest, bounds: Limits) -> None:
    policy.check_tags(request.tags, bounds)
    policy.check_key(request.idempotency_key, bounds, field="idempotencyKey")
    policy.check_key(request.request_key, bounds, field="request idempotency key")
    policy.check_payload(request.payload, bounds)
    policy.check_metadata(request.metadata, bounds)
    policy.check_options(request, bounds)


# -- Parents -----------------------------------------------------------------------------------


def _parents(scope: Scope, requests: Iterable[TriggerRequest]) -> dict[UUID, Run]:
    wanted = {request.parent_run_id for request in requests if request.parent_run_id}
    if not wanted:
        return {}
    found = {
        run.pk: run
        for run in Run.objects.within(scope.environment_id)
        .filter(pk__in=wanted)
        .only("id", "root_id", "depth", "status", "version_number", "cancel_requested_at")
    }
    if missing := wanted - found.keys():
        raise NotFound(f"parent run not found ({len(missing)} unknown)")
    for parent in found.values():
        if parent.is_final or parent.cancel_requested_at:
            raise Conflict("the parent run has ended or is being canceled: it can have no children")
    return found


def _waitpoint(
    scope: Scope, request: TriggerRequest, parents: dict[UUID, Run], run_id: UUID, *, now: datetime
) -> UUID | None:
    # the parent of a batch waits for the batch, not for each of its runs
    if not (request.resume_parent and request.parent_run_id) or request.batch_id:
        return None
    parent = parents[request.parent_run_id]
    if run_id in {parent.pk, *_ancestors(parent)}:
        raise WaitCycle
    return waitpoint_for_run(scope.environment_id, run_id, now=now)


def _ancestors(run: Run) -> list[UUID]:
    found: list[UUID] = []
    parent_id = Run.objects.values_list("parent_id", flat=True).get(pk=run.pk)
    while parent_id is not None:
        found.append(parent_id)
        parent_id = Run.objects.values_list("parent_id", flat=True).get(pk=parent_id)
    return found


# -- Exactly once ------------------------------------------------------------------------------


def _claim_keys(
    scope: Scope, requests: Sequence[TriggerRequest], ids: list[UUID], *, now: datetime
) -> list[UUID]:
    """Which run answers each request: its own new one, or the one that holds a key of it."""
    pairs = list(zip(ids, requests, strict=True))

    def hold(kind: KeyKind, holds: list[Hold]) -> dict[UUID, UUID]:
        return hold_keys(scope.environment_id, kind, holds, now=now)

    life = timedelta(seconds=limits().idempotency_seconds)
    tokens = [
        Hold(task="", key=asked.token_digest.hex(), run_id=run_id, life=life)
        for run_id, asked in pairs
        if asked.token_digest
    ]
    if any(holder != run_id for run_id, holder in hold(KeyKind.TOKEN, tokens).items()):
        raise Invalid("this one-time token has already been used")
    owners = hold(
        KeyKind.REQUEST,
        [
            Hold(task=asked.task, key=asked.request_key, run_id=run_id, life=_REQUEST_KEY_LIFE)
            for run_id, asked in pairs
            if asked.request_key
        ],
    )
    owners |= hold(
        KeyKind.USER,
        [
            Hold(
                task=asked.task,
                key=asked.idempotency_key,
                run_id=run_id,
                life=asked.idempotency_ttl or life,
            )
            for run_id, asked in pairs
            if asked.idempotency_key and owners.get(run_id, run_id) == run_id
        ],
    )
    return [owners.get(run_id, run_id) for run_id in ids]


# -- Building ----------------------------------------------------------------------------------


@dataclass(slots=True)
class _Versions:
    """The versions that this call has looked up: the current one, and those named in requests."""

    environment_id: UUID
    known: dict[str | None, VersionRef | None]

    def definition(self, request: TriggerRequest) -> TaskDefinition | None:
        version = self._version(request.version)
        return version and definitions.definition(version, request.task)

    def _version(self, number: str | None) -> VersionRef | None:
        if number not in self.known:
            self.known[number] = (
                definitions.current_version(self.environment_id)
                if number is None
                else definitions.version_by_number(self.environment_id, number)
            )
        return self.known[number]


def _build(
    scope: Scope,
    requests: Sequence[tuple[UUID, TriggerRequest]],
    parents: dict[UUID, Run],
    *,
    now: datetime,
) -> list[Run]:
    versions = _Versions(scope.environment_id, {})
    runs = []
    for run_id, asked in requests:
        parent = parents.get(asked.parent_run_id) if asked.parent_run_id else None
        request = _inherit(asked, parent)
        known = versions.definition(request)
        if known and known.payload_schema:
            check_schema(known.payload_schema, request.payload, request.payload_type)
        runs.append(_run(scope, run_id, request, known, parent, now=now))
    return runs


def _inherit(request: TriggerRequest, parent: Run | None) -> TriggerRequest:
    """A child that its parent waits for runs on the parent's version."""
    if parent is None or not request.resume_parent or request.version:
        return request
    return replace(request, version=parent.version_number)


def _run(
    scope: Scope,
    run_id: UUID,
    request: TriggerRequest,
    known: TaskDefinition | None,
    parent: Run | None,
    *,
    now: datetime,
) -> Run:
    bounds = limits()
    status = _first_status(request, known, now)
    max_attempts = request.max_attempts or (known and known.max_attempts) or bounds.default_attempts
    ttl = _ttl_seconds(scope, request, known)
    is_locked = known is not None and request.version is not None
    return Run(
        id=run_id,
        environment_id=scope.environment_id,
        task=request.task,
        status=status,
        queue=request.queue or (known.queue_name if known else f"task/{request.task}"),
        concurrency_key=request.concurrency_key,
        version_id=known.version_id if known and is_locked else None,
        version_number=request.version,
        priority_seconds=request.priority_seconds,
        payload=request.payload,
        payload_type=request.payload_type,
        metadata=request.metadata or {},
        metadata_type=request.metadata_type,
        tags=list(dict.fromkeys(request.tags)),
        is_test=request.is_test,
        source=request.source,
        trigger_function=_trigger_function(request),
        idempotency_key=_shown_key(request),
        idempotency_options=request.idempotency_options,
        traceparent=request.traceparent,
        machine=request.machine or (known.machine if known else "small-1x"),
        max_attempts=min(max_attempts, bounds.attempts_per_run),
        max_duration_seconds=request.max_duration_seconds
        or (known.max_duration_seconds if known else None),
        ttl_seconds=ttl,
        parent_id=parent and parent.pk,
        root_id=parent and (parent.root_id or parent.pk),
        depth=parent.depth + 1 if parent else 0,
        batch_id=request.batch_id,
        batch_index=request.batch_index,
        replay_of_id=request.replay_of_id,
        created_at=now,
        updated_at=now,
        queued_at=now if status == RunStatus.QUEUED else None,
        delayed_until=request.delay_until if status == RunStatus.DELAYED else None,
    )


def _first_status(
    request: TriggerRequest, known: TaskDefinition | None, now: datetime
) -> RunStatus:
    if request.delay_until is not None and request.delay_until > now:
        return RunStatus.DELAYED
    return RunStatus.QUEUED if known else RunStatus.PENDING_VERSION


def _trigger_function(request: TriggerRequest) -> str:
    name = "batchTrigger" if request.batch_id else "trigger"
    return f"{name}AndWait" if request.resume_parent else name


def _shown_key(request: TriggerRequest) -> str | None:
    options = request.idempotency_options or {}
    return options.get("key") or request.idempotency_key


def _ttl_seconds(scope: Scope, request: TriggerRequest, known: TaskDefinition | None) -> int | None:
    if request.ttl is not None:
        return int(request.ttl.total_seconds()) or None
    if known and known.ttl_seconds is not None:
        return known.ttl_seconds or None
    if is_development(scope.environment_id):
        return limits().development_ttl_seconds or None
    return None


@lru_cache(maxsize=10_000)
def is_development(environment_id: UUID) -> bool:
    """Whether an environment is for development; that never changes."""
    kind = Environment.objects.values_list("type", flat=True).get(pk=environment_id)
    return bool(kind == EnvironmentType.DEVELOPMENT)


# -- Storing -----------------------------------------------------------------------------------


def _store(scope: Scope, runs: list[Run], *, now: datetime) -> None:
    if not runs:
        return
    Run.objects.bulk_create(runs)
    RunEvent.objects.bulk_create(
        RunEvent(
            run_id=run.pk, environment_id=run.environment_id, kind="triggered",
            status=run.status, at=now,
        )
        for run in runs
    )  # fmt: skip
    RunTag.objects.bulk_create(
        RunTag(run_id=run.pk, tag=tag, environment_id=run.environment_id)
        for run in runs
        for tag in run.tags
    )
    Timer.objects.bulk_create(_timers(runs, now=now))
    PendingRun.objects.bulk_create(
        PendingRun(run_id=run.pk, environment_id=run.environment_id, task=run.task)
        for run in runs
        if run.status == RunStatus.PENDING_VERSION
    )
    make_ready(
        [ready_entry(run, now=now) for run in runs if run.status == RunStatus.QUEUED], now=now
    )


def _timers(runs: list[Run], *, now: datetime) -> list[Timer]:
    """TTL counts from the moment the run could start, so a delay comes first."""
    due = [
        Timer(run_id=run.pk, kind=TimerKind.DUE, due_at=run.delayed_until)
        for run in runs
        if run.status == RunStatus.DELAYED
    ]
    ttl = [
        Timer(
            run_id=run.pk, kind=TimerKind.TTL,
            due_at=(run.delayed_until or now) + timedelta(seconds=run.ttl_seconds),
        )
        for run in runs
        if run.ttl_seconds
    ]  # fmt: skip
    return due + ttl


def ready_entry(run: Run, *, now: datetime, session_id: UUID | None = None) -> Ready:
    """Where the claim finds this run; one in development follows the newest code."""
    follows_current = is_development(run.environment_id) and run.attempt_count > 0
    return Ready(
        run_id=run.pk,
        environment_id=run.environment_id,
        queue=run.queue,
        key=run.concurrency_key or "",
        machine=run.machine,
        order_at=policy.order_at(run.queued_at or now, run.priority_seconds),
        version_id=None if follows_current else run.version_id,
        session_id=session_id,
    )
