"""The journal of a durable run as a list: each entry with the beginning of its result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Func, IntegerField, Q
from django.db.models.functions import Left

from apps.environments.scope import Scope
from apps.runs.models import JournalEntry
from apps.runs.queries import get_run

MOST_SHOWN = 2_000
_FIELDS = (
    "seq", "position", "kind", "name", "ok", "output_type", "error", "attempts", "started_ms",
    "took_ms",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One entry; `shown` is its result up to `MOST_SHOWN` characters, `size` all its bytes."""

    seq: int
    position: str
    kind: str
    name: str
    ok: bool
    output_type: str
    error: dict[str, Any] | None
    attempts: int
    started_ms: int
    took_ms: int
    shown: str | None
    size: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSearch:
    """Which entries to list, and those beyond which one."""

    text: str = ""
    only_failed: bool = False
    newest_first: bool = False
    after: int | None = None


class _Bytes(Func):
    function = "OCTET_LENGTH"
    output_field = IntegerField()


def list_steps(scope: Scope, run_id: UUID, search: StepSearch, *, most: int) -> list[Step]:
    """What a durable run has done, in order or from the latest back."""
    get_run(scope, run_id)
    return steps_of(run_id, search, most=most)


def steps_of(run_id: UUID, search: StepSearch, *, most: int) -> list[Step]:
    """The same of a run that the caller has looked up in its scope."""
    entries = JournalEntry.objects.filter(run_id=run_id)
    if search.text:
        entries = entries.filter(Q(name__icontains=search.text) | Q(kind=search.text))
    if search.only_failed:
        entries = entries.filter(ok=False)
    if search.after is not None:
        beyond = "seq__lt" if search.newest_first else "seq__gt"
        entries = entries.filter(**{beyond: search.after})
    rows = entries.values(*_FIELDS, shown=Left("output", MOST_SHOWN), size=_Bytes("output"))
    return [Step(**row) for row in rows.order_by("-seq" if search.newest_first else "seq")[:most]]
