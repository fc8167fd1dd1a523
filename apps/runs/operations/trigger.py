"""Accept runs: many in one transaction, each exactly once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from apps.core import sql
from apps.core.errors import DomainError, Invalid
from apps.core.facts import publish
from apps.core.ids import new_id
from apps.core.transactions import retried
from apps.deployments import definitions
from apps.deployments.definitions import TaskDefinition, VersionRef
from apps.environments.scope import Scope
from apps.runs import policy
from apps.runs.facts import RunsTriggered
from apps.runs.limits import Limits, limits
from apps.runs.models import PendingRun, Run, RunEvent, RunTag, Timer
from apps.runs.operations.family import Parent, check_no_cycle, lock_parents
from apps.runs.operations.joining import Joined, join_open_runs, may_join
from apps.runs.operations.keys import Owner, find_owners
from apps.runs.operations.lengths import check_lengths
from apps.runs.operations.queueing import announce_ready, is_development, ready_places
from apps.runs.operations.requests import TriggerRequest as TriggerRequest
from apps.runs.operations.waiting import waitpoint_for_run
from apps.runs.schemas import check_schema
from apps.runs.states import RunStatus, TimerKind
from holdfast.machines import DEFAULT_MACHINE

_DEEPEST = 32_767  # what the column holds; a chain of runs may go on for ever


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
    scope: Scope,
    *,
    requests: Sequence[TriggerRequest],
    now: datetime,
    announce: Callable[[UUID], None] = announce_ready,
) -> list[Triggered]:
    """Accept runs, all or none; an idempotency key that is live answers with its run.

    The environment of runs that may start is told to `announce`, so that somebody looks.
    """
    bounds = limits()
    for request in requests:
        _check(request, bounds)
    parents = lock_parents(scope, (r.parent_run_id for r in requests if r.parent_run_id))
    asked = [(new_id(), request) for request in requests]
    owners = find_owners(scope.environment_id, asked, now=now)
    fresh = [
        pair for pair, owner in zip(asked, owners, strict=True) if owner.run_id == pair[0]
    ]  # fmt: skip
    versions = _Versions(scope.environment_id, {})
    joined = join_open_runs(scope, fresh, versions.definition, now=now)
    runs, unknown = _build(scope, joined, versions, parents, now=now)
    check_lengths(runs)
    _store(runs, unknown, announce, now=now)
    return [
        _answer(scope, request, joined.owner(owner), is_fresh=owner.run_id == run_id, now=now)
        for (run_id, request), owner in zip(asked, owners, strict=True)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A run that is not stored, and what its version says about its task.

    `may_join` when the request may be answered by a run that is there.
    """

    run: Run
    known: TaskDefinition | None
    may_join: bool


def draft_run(scope: Scope, *, request: TriggerRequest, now: datetime) -> Draft:
    """The run that a request asks for, its payload unchecked; the caller is in a transaction."""
    _check(request, limits())
    parents = lock_parents(scope, [request.parent_run_id] if request.parent_run_id else [])
    parent = parents.get(request.parent_run_id) if request.parent_run_id else None
    versions = _Versions(scope.environment_id, {})
    has_key = request.idempotency_key or request.request_key or request.token_digest
    joins = bool(has_key) or may_join(request, versions.definition(request))
    inherited = _inherit(scope, request, parent)
    known = versions.definition(inherited)
    run = _run(scope, new_id(), inherited, known, parent, now=now)
    return Draft(run=run, known=known, may_join=joins)


def refusals(scope: Scope, *, requests: Sequence[TriggerRequest]) -> list[DomainError | None]:
    """Why each request is refused by itself, as far as a look without accepting it can tell."""
    versions = _Versions(scope.environment_id, {})
    return [_refusal(request, versions) for request in requests]


def _refusal(request: TriggerRequest, versions: _Versions) -> DomainError | None:
    try:
        _check(request, limits())
        if not request.resume_parent:  # else its parent's version may count
            _check_schema(versions.definition(request), request)
    except DomainError as error:
        return error
    return None


def _check_schema(known: TaskDefinition | None, request: TriggerRequest) -> None:
    if known and known.payload_schema:
        check_schema(known.payload_schema, request.payload, request.payload_type)


def _check(request: TriggerRequest, bounds: Limits) -> None:
    policy.check_tags(request.tags, bounds)
    policy.check_key(request.idempotency_key, bounds, field="idempotencyKey")
    policy.check_key(request.request_key, bounds, field="request idempotency key")
    policy.check_payload(request.payload, bounds)
    policy.check_metadata(request.metadata, bounds)
    policy.check_options(request, bounds)
    policy.check_debounce(request.debounce, bounds)


def _answer(
    scope: Scope, request: TriggerRequest, owner: Owner, *, is_fresh: bool, now: datetime
) -> Triggered:
    waitpoint_id = None
    if request.resume_parent and request.parent_run_id:
        if not is_fresh:
            check_no_cycle(request.parent_run_id, owner.run_id)
        # the parent of a batch waits for the batch, not for each of its runs
        if request.batch_id is None:
            waitpoint_id = waitpoint_for_run(scope.environment_id, owner.run_id, now=now)
    return Triggered(run_id=owner.run_id, is_cached=owner.is_cached, waitpoint_id=waitpoint_id)


# -- Building ----------------------------------------------------------------------------------


@dataclass(slots=True)
class _Versions:
    """The versions that this call has looked up: the current one, and those named in requests."""

    environment_id: UUID
    known: dict[str | None, VersionRef | None]

    def definition(self, request: TriggerRequest) -> TaskDefinition | None:
        """What the request's version says about its task; raises Invalid when it names one that
        does not have it."""
        version = self._version(request.version)
        found = definitions.definition(version, request.task) if version else None
        if found is None and request.version is not None:
            raise Invalid(
                f"version {request.version} has no task {request.task!r}",
                detail={"version": ["has no such task"]},
            )
        return found

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
    joined: Joined,
    versions: _Versions,
    parents: dict[UUID, Parent],
    *,
    now: datetime,
) -> tuple[list[Run], list[Run]]:
    """The runs, and those of them whose task is not known yet."""
    runs, unknown = [], []
    shared = set(joined.answers.values())
    for run_id, asked in joined.fresh:
        parent = parents.get(asked.parent_run_id) if asked.parent_run_id else None
        request = _inherit(scope, asked, parent)
        known = versions.definition(request)
        _check_schema(known, request)
        run = _run(scope, run_id, request, known, parent, now=now)
        run.is_single, run.is_shared = run_id in joined.singles, run_id in shared
        runs.append(run)
        if known is None:
            unknown.append(run)
    return runs, unknown


def _inherit(scope: Scope, request: TriggerRequest, parent: Parent | None) -> TriggerRequest:
    """A child that its parent waits for runs on the parent's version.

    In development it runs on the newest: after a change, no worker is left of an older one.
    """
    if parent is None or not request.resume_parent:
        return request
    if is_development(scope.environment_id):
        return replace(request, version=None)
    return replace(request, version=request.version or parent.version_number)


def _run(
    scope: Scope,
    run_id: UUID,
    request: TriggerRequest,
    known: TaskDefinition | None,
    parent: Parent | None,
    *,
    now: datetime,
) -> Run:
    bounds = limits()
    status = _first_status(request, known, now)
    max_attempts = request.max_attempts or (known and known.max_attempts) or bounds.default_attempts
    return Run(
        id=run_id,
        environment_id=scope.environment_id,
        task=request.task,
        status=status,
        queue=request.queue or (known.queue_name if known else policy.own_queue(request.task)),
        concurrency_key=request.concurrency_key,
        version_id=known.version_id if known and request.version else None,
        version_number=request.version,
        priority_seconds=request.priority_seconds,
        payload=request.payload,
        payload_type=request.payload_type,
        metadata=policy.storable(request.metadata or {}),
        metadata_type=request.metadata_type,
        tags=list(dict.fromkeys(request.tags)),
        is_test=request.is_test,
        source=request.source,
        trigger_function=_trigger_function(request),
        idempotency_key=_shown_key(request),
        idempotency_options=request.idempotency_options,
        traceparent=request.traceparent,
        machine=request.machine or (known.machine if known else DEFAULT_MACHINE),
        max_attempts=min(max_attempts, bounds.attempts_per_run),
        max_duration_seconds=request.max_duration_seconds
        or (known.max_duration_seconds if known else None),
        ttl_seconds=_ttl_seconds(scope, request, known),
        parent_id=parent.id if parent else None,
        root_id=parent.root_id if parent else None,
        depth=min(parent.depth + 1, _DEEPEST) if parent else 0,
        batch_id=request.batch_id,
        batch_index=request.batch_index,
        replay_of_id=request.replay_of_id,
        schedule_id=request.schedule_id,
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
        return math.ceil(request.ttl.total_seconds()) or None
    if known and known.ttl_seconds is not None:
        return known.ttl_seconds or None
    if is_development(scope.environment_id):
        return limits().development_ttl_seconds or None
    return None


# -- Storing -----------------------------------------------------------------------------------


def _store(
    runs: list[Run], unknown: list[Run], announce: Callable[[UUID], None], *, now: datetime
) -> None:
    if not runs:
        return
    ready = ready_places([run for run in runs if run.status == RunStatus.QUEUED], now=now)
    sql.insert(
        runs,
        [
            RunEvent(
                run_id=run.pk, environment_id=run.environment_id, kind="triggered",
                status=run.status, at=now,
            )
            for run in runs
        ],
        [
            RunTag(run_id=run.pk, tag=tag, environment_id=run.environment_id)
            for run in runs
            for tag in run.tags
        ],
        [timer for run in runs for timer in timers_of(run, now=now)],
        [
            PendingRun(run_id=run.pk, environment_id=run.environment_id, task=run.task)
            for run in unknown
        ],
        ready,
    )  # fmt: skip
    if ready:
        announce(runs[0].environment_id)
    publish(RunsTriggered(environment_id=runs[0].environment_id, count=len(runs)))


def timers_of(run: Run, *, now: datetime) -> Iterator[Timer]:
    """TTL counts from the moment the run could start, so a delay comes first."""
    if run.delayed_until:
        yield Timer(run_id=run.pk, kind=TimerKind.DUE, due_at=run.delayed_until)
    if run.ttl_seconds:
        due_at = (run.delayed_until or now) + timedelta(seconds=run.ttl_seconds)
        yield Timer(run_id=run.pk, kind=TimerKind.TTL, due_at=due_at)
