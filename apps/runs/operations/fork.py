"""Begin a durable run where another one had come to."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.db.models import QuerySet

from apps.core.errors import Invalid, NotFound
from apps.core.ids import public_id
from apps.core.transactions import retried
from apps.environments.scope import Scope
from apps.orgs import audit
from apps.orgs.permissions import Permission, require
from apps.runs.models import JournalEntry, Run
from apps.runs.operations.journal import FORK, copy_journal
from apps.runs.operations.trigger import Triggered, TriggerRequest, trigger_run

NAMES_SHOWN = 10
LOOKED_AT = 1_000


@retried
def fork_run(
    scope: Scope,
    *,
    run_id: UUID,
    start: str,
    version: str | None = None,
    now: datetime,
) -> Triggered:
    """A new run with the journal of another up to an entry, which it does again.

    `start` is the position of the entry, or the name of a step: the first of that name. Without a
    version it runs on the current one; the payload stays what it was, since the journal follows
    from it.
    """
    require(scope.actor, Permission.RUNS_WRITE)
    run = Run.objects.within(scope.environment_id).filter(pk=run_id).first()
    if run is None:
        raise NotFound
    entry = _entry(run, start)
    request = TriggerRequest(
        task=run.task,
        payload=run.payload,
        payload_type=run.payload_type,
        queue=run.queue,
        concurrency_key=run.concurrency_key,
        tags=tuple(run.tags),
        machine=run.machine,
        max_attempts=run.max_attempts,
        max_duration_seconds=run.max_duration_seconds,
        priority_seconds=run.priority_seconds,
        is_test=run.is_test,
        version=version,
        source=FORK,
        replay_of_id=run.pk,
    )
    made = trigger_run(scope, request=request, now=now)
    count = copy_journal(run.pk, made.run_id, before=entry.seq)
    audit.record(
        scope.organization,
        action="run.forked",
        target=("run", public_id("run", run.pk)),
        detail={"fork": public_id("run", made.run_id), "from": entry.position, "entries": count},
        now=now,
    )
    return made


def _entry(run: Run, start: str) -> JournalEntry:
    entries = JournalEntry.objects.filter(run_id=run.pk).order_by("seq")
    found = entries.filter(position=start).first() or entries.filter(name=start).first()
    if found is None:
        raise Invalid(
            f"its journal has no step {start!r}, by position or name: {_steps(entries)}",
            detail={"from": ["unknown"]},
        )
    return found


def _steps(entries: QuerySet[JournalEntry]) -> str:
    steps = entries.filter(kind="step").values_list("name", flat=True)[:LOOKED_AT]
    names = list(dict.fromkeys(steps))
    if not names:
        return "it has recorded none"
    more = ", …" if len(names) > NAMES_SHOWN else ""
    return f"it has {', '.join(names[:NAMES_SHOWN])}{more}"
