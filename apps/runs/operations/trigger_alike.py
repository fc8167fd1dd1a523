"""Accept items of a batch that differ in nothing but their payload: checked once, written as one.

What a run of its own costs most is not the database but to be validated, built and taken apart into
rows, column by column; here that happens once for all that are alike.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from apps.core import sql
from apps.core.errors import DomainError
from apps.core.facts import publish
from apps.core.ids import new_id
from apps.environments.scope import Scope
from apps.runs import policy
from apps.runs.facts import RunsTriggered
from apps.runs.limits import limits
from apps.runs.models import Run
from apps.runs.operations.lengths import check_lengths
from apps.runs.operations.queueing import make_ready_alike
from apps.runs.operations.requests import TriggerRequest
from apps.runs.operations.trigger import Draft, draft_run, timers_of
from apps.runs.schemas import checker
from apps.runs.states import RunStatus


@dataclass(slots=True)
class Alike:
    """One request, without a payload, and the items that make it: each index with its payload."""

    request: TriggerRequest
    items: list[tuple[int, str | None]]


def trigger_alike(
    scope: Scope, *, groups: Sequence[Alike], now: datetime
) -> dict[int, DomainError] | None:
    """Accept all items with their rows in the batch, but those that are returned as refused.

    None, and nothing written, when they have to be looked at one by one: one of them may be
    answered by a run that is there, or something is wrong with more than payloads. The caller is
    in a transaction.
    """
    try:
        drafts = [draft_run(scope, request=group.request, now=now) for group in groups]
        if any(draft.may_join for draft in drafts):
            return None
        refused = {
            index: problem
            for group, draft in zip(groups, drafts, strict=True)
            for index, problem in _refused(group, draft)
        }
        kept = [[item for item in group.items if item[0] not in refused] for group in groups]
        check_lengths(
            [d.run for d, items in zip(drafts, kept, strict=True) for _ in range(len(items))]
        )
    except DomainError:
        return None
    # ids of all groups ascend with the index: runs of one moment start in the order of their ids
    ids = {index: new_id() for index in sorted(index for items in kept for index, _ in items)}
    for draft, items in zip(drafts, kept, strict=True):
        if items:
            _store(draft, items, ids, now=now)
    return refused


def _refused(group: Alike, draft: Draft) -> list[tuple[int, DomainError]]:
    bounds, schema = limits(), draft.known.payload_schema if draft.known else None
    check = checker(schema) if schema else None
    refused = []
    for index, payload in group.items:
        try:
            policy.check_payload(payload, bounds)
            if check is not None:
                check(payload, group.request.payload_type)
        except DomainError as error:
            refused.append((index, error))
    return refused


def _store(
    draft: Draft, items: Sequence[tuple[int, str | None]], ids: dict[int, UUID], *, now: datetime
) -> None:
    run, timers = draft.run, list(timers_of(draft.run, now=now))
    run_ids = [ids[index] for index, _ in items]
    sql.execute(
        sql.load("runs", "trigger_alike"),
        {
            "run": _columns(run),
            "runs": run_ids,
            "events": [new_id() for _ in items],
            "payloads": [payload for _, payload in items],
            "indexes": [index for index, _ in items],
            "kinds": [timer.kind for timer in timers],
            "dues": [timer.due_at for timer in timers],
            "is_pending": draft.known is None,
        },
    )
    if run.status == RunStatus.QUEUED:
        make_ready_alike(run, run_ids, now=now)
    publish(RunsTriggered(environment_id=run.environment_id, count=len(items)))


def _columns(run: Run) -> str:
    """All columns of a run, as JSON."""
    fields = Run._meta.concrete_fields  # noqa: SLF001 -- Django's own API
    columns = {str(field.column): getattr(run, field.attname) for field in fields}
    return json.dumps(columns, default=_as_text)


def _as_text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
