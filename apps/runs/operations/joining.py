"""Triggers that join a run that is there instead of starting another: debounced, overlapping,
collected.

Each is known by a key whose row is locked first, so that triggers of one key take turns. The run
that has the key is joined if it still can be; else the new run takes the key over.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from apps.core.errors import TooLarge
from apps.deployments.definitions import TaskDefinition
from apps.environments.scope import Scope
from apps.runs.errors import NotCollectable
from apps.runs.limits import limits
from apps.runs.models import IdempotencyKey, Run, RunEvent, RunTag, Timer
from apps.runs.operations.cancel import cancel_run
from apps.runs.operations.keys import Owner
from apps.runs.operations.requests import TriggerRequest
from apps.runs.policy import Debounce, key_digest, storable
from apps.runs.states import KeyKind, Overlap, RunStatus, TimerKind

_JSON = "application/json"
_SUPERJSON = "application/super+json"
_STORED = "application/store"
_UNSTARTED = {RunStatus.QUEUED, RunStatus.DELAYED, RunStatus.PENDING_VERSION}

Asked = tuple[UUID, TriggerRequest]


@dataclass(slots=True)
class Joined:
    """What is left to be started, and which runs answer the rest."""

    fresh: list[Asked]
    answers: dict[UUID, UUID] = field(default_factory=dict)
    singles: frozenset[UUID] = frozenset()

    def owner(self, owner: Owner) -> Owner:
        """Who answers in the end."""
        if (holder := self.answers.get(owner.run_id)) is None:
            return owner
        return Owner(run_id=holder, is_cached=True)


def join_open_runs(
    scope: Scope,
    asked: Sequence[Asked],
    definition: Callable[[TriggerRequest], TaskDefinition | None],
    *,
    now: datetime,
) -> Joined:
    """Let those requests that are to join a run do so; the caller is in a transaction."""
    rules = {run_id: _rule(request, definition(request)) for run_id, request in asked}
    keyed = {run_id: rule for run_id, rule in rules.items() if rule is not None}
    if not keyed:
        return Joined(fresh=list(asked))
    desk = _Desk(scope, keyed, now=now)
    for run_id, request in asked:
        desk.take(run_id, request)
    desk.write()
    return desk.joined


def may_join(request: TriggerRequest, known: TaskDefinition | None) -> bool:
    """Whether a request may be answered by a run that is there already."""
    return _rule(request, known) is not None


# -- Rules ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """How a request may join: the key it is known by, and one of the three ways."""

    kind: KeyKind
    task: str
    key: str
    debounce: Debounce | None = None
    overlap: Overlap = Overlap.ALLOW
    size: int = 0
    seconds: float = 0

    @property
    def place(self) -> tuple[str, str, bytes]:
        return self.kind.value, self.task, key_digest(self.key)

    @property
    def life(self) -> timedelta:
        """How long the key is kept when nothing more is heard of it."""
        if self.debounce:
            return self.debounce.delay + timedelta(days=1)
        return timedelta(seconds=limits().idempotency_seconds)


def _rule(request: TriggerRequest, known: TaskDefinition | None) -> _Rule | None:
    if request.debounce:
        return _Rule(
            kind=KeyKind.DEBOUNCE, task=request.task, key=request.debounce.key,
            debounce=request.debounce,
        )  # fmt: skip
    lane = request.concurrency_key or ""
    if known and known.collect:
        return _Rule(
            kind=KeyKind.COLLECT, task=request.task, key=lane, size=known.collect["size"],
            seconds=known.collect["seconds"],
        )  # fmt: skip
    overlap = request.overlap or (Overlap(known.overlap) if known else Overlap.ALLOW)
    if overlap == Overlap.ALLOW:
        return None
    return _Rule(kind=KeyKind.OVERLAP, task=request.task, key=lane, overlap=overlap)


# -- The desk ------------------------------------------------------------------------------------


class _Desk:
    """The keys of one call, locked, and who has each; requests are taken one after the other."""

    def __init__(self, scope: Scope, rules: Mapping[UUID, _Rule], *, now: datetime) -> None:
        self._scope, self._rules, self._now = scope, rules, now
        self._holders = self._lock_keys()
        self._runs = self._lock_runs()
        self._pending: dict[UUID, int] = {}  # runs of this very call, by their place in `fresh`
        self._taken: dict[tuple[str, str, bytes], UUID] = {}
        self.joined = Joined(fresh=[])

    def _lock_keys(self) -> dict[tuple[str, str, bytes], UUID]:
        first: dict[tuple[str, str, bytes], tuple[UUID, _Rule]] = {}
        for run_id, rule in self._rules.items():
            first.setdefault(rule.place, (run_id, rule))
        environment_id = self._scope.environment_id
        IdempotencyKey.objects.bulk_create(
            [
                IdempotencyKey(
                    environment_id=environment_id, kind=kind, task=task, digest=digest,
                    run_id=run_id, created_at=self._now, expires_at=self._now + rule.life,
                )
                for (kind, task, digest), (run_id, rule) in sorted(first.items())
            ],
            ignore_conflicts=True,
        )  # fmt: skip
        rows = IdempotencyKey.objects.select_for_update().filter(
            environment_id=environment_id,
            kind__in={kind for kind, _, _ in first},
            task__in={task for _, task, _ in first},
            digest__in=[digest for _, _, digest in first],
        )
        found = {(r.kind, r.task, bytes(r.digest)): r.run_id for r in rows.order_by("pk")}
        return {place: found[place] for place in first}

    def _lock_runs(self) -> dict[UUID, Run]:
        """The runs that may be joined; one that is to be canceled is locked by that."""
        wanted = {
            self._holders[rule.place]
            for rule in self._rules.values()
            if rule.overlap != Overlap.CANCEL
        }
        locked = Run.objects.select_for_update(no_key=True).filter(
            pk__in=wanted, environment_id=self._scope.environment_id
        )
        return {run.pk: run for run in locked.order_by("pk")}

    def take(self, run_id: UUID, request: TriggerRequest) -> None:
        rule = self._rules.get(run_id)
        if rule is None:
            self.joined.fresh.append((run_id, request))
            return
        holder = self._taken.get(rule.place, self._holders[rule.place])
        if self._joins_pending(holder, rule, request) or self._joins(holder, rule, request):
            self.joined.answers[run_id] = holder
            return
        if rule.overlap == Overlap.CANCEL and holder != run_id:
            self._cancel(holder)
        self._start(run_id, rule, request)

    def _joins_pending(self, holder: UUID, rule: _Rule, request: TriggerRequest) -> bool:
        """Whether a request joins one of this very call, which is changed in its place."""
        place = self._pending.get(holder)
        if place is None:
            return False
        older = self.joined.fresh[place][1]
        if rule.debounce and rule.debounce.is_trailing:
            merged = replace(older, **_latest(request))
        elif rule.overlap == Overlap.CANCEL:
            merged = request
        elif rule.kind == KeyKind.COLLECT:
            items = _Items.read(older.payload, older.payload_type)
            if not items.takes(request, rule.size):
                return False
            payload, payload_type = items.text()
            due = older.delay_until if items.count < rule.size else None
            merged = replace(older, payload=payload, payload_type=payload_type, delay_until=due)
        else:
            merged = older
        self.joined.fresh[place] = (holder, merged)
        return True

    def _joins(self, holder: UUID, rule: _Rule, request: TriggerRequest) -> bool:
        run = self._runs.get(holder)
        if run is None or run.is_final:
            return False
        if rule.overlap == Overlap.SKIP:
            is_joined = True
        elif rule.overlap == Overlap.QUEUE:
            is_joined = run.status in _UNSTARTED and run.started_at is None
        elif run.status != RunStatus.DELAYED or run.attempt_count or run.delivery_count:
            is_joined = False
        elif rule.debounce:
            is_joined = self._push(run, rule.debounce, request)
        else:
            is_joined = self._collect(run, rule, request)
        if is_joined and not run.is_shared:
            run.is_shared = True
            run.save(update_fields=["is_shared"])
        return is_joined

    def _push(self, run: Run, debounce: Debounce, request: TriggerRequest) -> bool:
        """Move a debounced run on, and let it have the latest payload if it is to."""
        latest = run.created_at + (
            debounce.max_delay or timedelta(seconds=limits().debounce_seconds)
        )
        due_at = max(self._now, min(self._now + debounce.delay, latest))
        fields = ["delayed_until", "updated_at"]
        if debounce.is_trailing:
            fields += self._replace(run, request)
        run.updated_at = self._now
        self._reschedule(run, due_at, fields, kind="debounced")
        return True

    def _replace(self, run: Run, request: TriggerRequest) -> list[str]:
        changes = {name: value for name, value in _latest(request).items() if value is not None}
        changes["payload"] = request.payload
        changes["metadata"] = storable(request.metadata or {})
        changes["tags"] = list(dict.fromkeys(request.tags))
        for name, value in changes.items():
            setattr(run, name, value)
        RunTag.objects.filter(run_id=run.pk).exclude(tag__in=run.tags).delete()
        RunTag.objects.bulk_create(
            [RunTag(run_id=run.pk, tag=tag, environment_id=run.environment_id) for tag in run.tags],
            ignore_conflicts=True,
        )
        return list(changes)

    def _collect(self, run: Run, rule: _Rule, request: TriggerRequest) -> bool:
        items = _Items.read(run.payload, run.payload_type)
        if not items.takes(request, rule.size):
            return False
        run.payload, run.payload_type = items.text()
        run.updated_at = self._now
        due_at = self._now if items.count >= rule.size else run.delayed_until or self._now
        fields = ["payload", "payload_type", "updated_at", "delayed_until"]
        self._reschedule(run, due_at, fields, kind="collected")
        return True

    def _reschedule(self, run: Run, due_at: datetime, fields: list[str], *, kind: str) -> None:
        run.delayed_until = due_at
        run.save(update_fields=fields)
        timers = Timer.objects.filter(run_id=run.pk)
        timers.filter(kind=TimerKind.DUE).update(due_at=due_at)
        if run.ttl_seconds:
            expires = due_at + timedelta(seconds=run.ttl_seconds)
            timers.filter(kind=TimerKind.TTL).update(due_at=expires)
        RunEvent.objects.create(
            run_id=run.pk, environment_id=run.environment_id, kind=kind, status=run.status,
            attempt=0, at=self._now, detail={"until": due_at.isoformat()},
        )  # fmt: skip

    def _cancel(self, holder: UUID) -> None:
        if Run.objects.within(self._scope.environment_id).filter(pk=holder).open().exists():
            cancel_run(self._scope, run_id=holder, reason="replaced by a newer run", now=self._now)

    def _start(self, run_id: UUID, rule: _Rule, request: TriggerRequest) -> None:
        """A new run, which has the key from now on."""
        if rule.debounce:
            request = replace(request, delay_until=self._now + rule.debounce.delay)
        elif rule.kind == KeyKind.COLLECT:
            items = _Items()
            if not items.takes(request, rule.size):
                raise TooLarge("this payload is too large to be collected with others")
            payload, payload_type = items.text()
            due = self._now + timedelta(seconds=rule.seconds) if rule.size > 1 else None
            request = replace(
                request, payload=payload, payload_type=payload_type, delay_until=due
            )  # fmt: skip
        else:
            self.joined.singles |= {run_id}
        self._taken[rule.place] = run_id
        self._pending[run_id] = len(self.joined.fresh)
        self.joined.fresh.append((run_id, request))

    def write(self) -> None:
        """Note who has each key now, and whom the joined requests' own keys name."""
        for (kind, task, digest), run_id in self._taken.items():
            rule = self._rules[run_id]
            IdempotencyKey.objects.filter(
                environment_id=self._scope.environment_id, kind=kind, task=task, digest=digest
            ).update(run_id=run_id, expires_at=self._now + rule.life)
        for run_id, holder in self.joined.answers.items():
            IdempotencyKey.objects.filter(run_id=run_id).update(run_id=holder)


def _latest(request: TriggerRequest) -> dict[str, Any]:
    """What a debounced run takes over from the latest trigger."""
    return {
        "payload": request.payload,
        "payload_type": request.payload_type,
        "metadata": request.metadata,
        "tags": request.tags,
        "max_attempts": request.max_attempts,
        "max_duration_seconds": request.max_duration_seconds,
        "machine": request.machine,
    }


# -- Collected payloads --------------------------------------------------------------------------


@dataclass(slots=True)
class _Items:
    """The payloads that one run collects: a JSON array, with the types that its items need."""

    values: list[Any] = field(default_factory=list)
    types: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, payload: str | None, payload_type: str) -> _Items:
        found = json.loads(payload or "[]")
        if payload_type != _SUPERJSON:
            return cls(found)
        return cls(found["json"], found.get("meta", {}).get("values", {}))

    @property
    def count(self) -> int:
        return len(self.values)

    def takes(self, request: TriggerRequest, size: int) -> bool:
        """Add a payload, if there is room for it."""
        if self.count >= size:
            return False
        value, types = _read_item(request.payload, request.payload_type)
        place = str(self.count)
        self.values.append(value)
        if isinstance(types, list):  # the item itself is of a type
            self.types[place] = types
        else:
            self.types |= {f"{place}.{path}": kind for path, kind in types.items()}
        if len(self.text()[0].encode()) <= limits().payload_bytes:
            return True
        self.values.pop()
        return False

    def text(self) -> tuple[str, str]:
        if not self.types:
            return json.dumps(self.values, separators=(",", ":")), _JSON
        whole = {"json": self.values, "meta": {"values": self.types}}
        return json.dumps(whole, separators=(",", ":")), _SUPERJSON


def _read_item(payload: str | None, payload_type: str) -> tuple[Any, Any]:
    if payload_type == _STORED:
        raise NotCollectable
    if payload is None:
        return None, {}
    if payload_type == _SUPERJSON:
        whole = json.loads(payload)
        return whole.get("json"), whole.get("meta", {}).get("values", {})
    if payload_type == _JSON:
        return json.loads(payload), {}
    return payload, {}
