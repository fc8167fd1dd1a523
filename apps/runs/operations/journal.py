"""The journals of durable runs: written as their workers report, handed out with the runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Q

from apps.core import sql
from apps.runs.limits import limits
from apps.runs.models import Attempt, JournalEntry
from holdfast.protocol import Entry

FORK = "fork"
"""What started a run that begins with the journal of another."""


def record_entries(entries: Mapping[UUID, Sequence[Entry]]) -> None:
    """Write what runs have done; the caller holds their locks and has checked the generations."""
    told = [(run_id, entry) for run_id, more in entries.items() for entry in more]
    if not told:
        return
    runs, listed = zip(*told, strict=True)
    sql.execute(
        sql.load("runs", "record_entries"),
        {
            "runs": list(runs),
            "seqs": [entry.seq for entry in listed],
            "positions": [entry.position for entry in listed],
            "kinds": [entry.kind for entry in listed],
            "names": [entry.name for entry in listed],
            "afters": [entry.after for entry in listed],
            "digests": [entry.digest for entry in listed],
            "oks": [entry.ok for entry in listed],
            "outputs": [entry.output for entry in listed],
            "output_types": [entry.output_type for entry in listed],
            "errors": [entry.error and json.dumps(entry.error) for entry in listed],
            "attempts": [entry.attempts for entry in listed],
            "started": [entry.started_ms for entry in listed],
            "took": [entry.took_ms for entry in listed],
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Handed:
    """A journal as it is handed out: its entries, unless they are too large for a message."""

    entries: tuple[Entry, ...] = ()
    length: int = 0


def journals(run_ids: Sequence[UUID]) -> dict[UUID, Handed]:
    """The journals of these runs; those without one are left out."""
    if not run_ids:
        return {}
    rows = sql.rows(
        sql.load("runs", "journals"),
        {"runs": list(run_ids), "most": limits().journal_inline_bytes},
    )
    found: dict[UUID, list[Entry]] = {}
    lengths: dict[UUID, int] = {}
    for row in rows:
        entries = found.setdefault(row["run_id"], [])
        lengths[row["run_id"]] = row["length"]
        if row["is_whole"]:
            entries.append(_entry(row))
    return {
        run_id: Handed(entries=tuple(entries), length=lengths[run_id])
        for run_id, entries in found.items()
    }


def executed_before(attempt_ids: Iterable[UUID]) -> dict[UUID, int]:
    """The milliseconds that attempts which go on have been executed so far."""
    wanted = list(attempt_ids)
    if not wanted:
        return {}
    return dict(Attempt.objects.filter(pk__in=wanted).values_list("id", "executed_ms"))


def rewind(run_id: UUID, seqs: Sequence[int]) -> None:
    """Forget what failed an attempt, and what was called when the first of it was known.

    The next attempt does these again, and nothing else.
    """
    if seqs:
        entries = JournalEntry.objects.filter(run_id=run_id)
        entries.filter(Q(seq__in=seqs) | Q(after__gte=max(seqs))).delete()


def copy_journal(source: UUID, target: UUID, *, before: int) -> int:
    """Give a run the entries of another that come before an entry; returns how many."""
    entries = list(JournalEntry.objects.filter(run_id=source, seq__lt=before).order_by("seq"))
    for entry in entries:
        entry.run_id = target
    sql.insert(entries)
    return len(entries)


def _entry(row: Mapping[str, Any]) -> Entry:
    error = row["error"]
    return Entry(
        seq=row["seq"],
        position=row["position"],
        kind=row["kind"],
        name=row["name"],
        after=row["after"],
        digest=row["digest"],
        ok=row["ok"],
        output=row["output"],
        output_type=row["output_type"],
        error=json.loads(error) if isinstance(error, str) else error,  # raw rows carry text
        attempts=row["attempts"],
        started_ms=row["started_ms"],
        took_ms=row["took_ms"],
    )
