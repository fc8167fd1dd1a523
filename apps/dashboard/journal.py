"""The journal of a durable run in the words of its page."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.http import QueryDict

from apps.dashboard.faults import Fault, fault_of
from apps.runs.steps import MOST_SHOWN, Step, StepSearch
from holdfast import packets

STEPS_SHOWN = 100
_LONGEST_WORD = 256
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ICONS = {
    "step": "circle-check",
    "wait": "hourglass",
    "time": "timer",
    "token": "hourglass",
    "trigger": "zap",
    "batch": "layers",
    "now": "clock",
    "random": "sparkles",
    "uuid": "sparkles",
    "patch": "git-branch",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRow:
    """An entry as its row shows it."""

    step: Step
    icon: str
    at: datetime
    took: timedelta
    fault: Fault | None

    @property
    def title(self) -> str:
        """What was done: the name of a step, or the kind of call with what it was about."""
        step = self.step
        return step.name if step.kind in ("step", step.name) else f"{step.kind} {step.name}"

    @property
    def fork_values(self) -> str:
        """What the dialog of a fork is filled with."""
        return json.dumps({"from": self.step.position, "step": self.title})

    @property
    def is_stored(self) -> bool:
        """Whether the result is in object storage, and here is only its key."""
        return self.step.output_type == packets.STORE

    @property
    def is_cut(self) -> bool:
        return self.step.shown is not None and len(self.step.shown) >= MOST_SHOWN


def read_steps(query: QueryDict) -> StepSearch:
    """Which entries an address asks for."""
    words = query.get("q", "").replace("\0", "").strip()[:_LONGEST_WORD]
    after = query.get("after", "")
    return StepSearch(
        text=words,
        only_failed=query.get("status") == "failed",
        newest_first=query.get("sort") == "newest",
        after=int(after) if after.isascii() and after.isdecimal() and len(after) < 10 else None,
    )


def step_rows(steps: Iterable[Step]) -> list[StepRow]:
    """Entries in their order."""
    return [
        StepRow(
            step=step,
            icon=_ICONS.get(step.kind, "circle") if step.ok else "circle-x",
            at=_EPOCH + timedelta(milliseconds=step.started_ms),
            took=timedelta(milliseconds=step.took_ms),
            fault=fault_of(step.error),
        )
        for step in steps
    ]


def exported(rows: Iterable[StepRow]) -> list[dict[str, Any]]:
    """The same for a file."""
    return [
        {
            "seq": row.step.seq,
            "position": row.step.position,
            "kind": row.step.kind,
            "name": row.step.name,
            "ok": row.step.ok,
            "attempts": row.step.attempts,
            "started_at": row.at.isoformat(),
            "took_ms": row.step.took_ms,
            "size": row.step.size,
            "output": row.step.shown,
            "error": row.step.error,
        }
        for row in rows
    ]
