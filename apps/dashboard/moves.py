"""The moves of a run in words: what its timeline shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from apps.dashboard.statuses import look_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One entry of a timeline; `after` is the time since the one before."""

    label: str
    tone: str
    icon: str
    at: datetime
    after: timedelta | None
    note: str


_WORDS: dict[str, tuple[str, str, str]] = {
    "triggered": ("Triggered", "idle", "zap"),
    "released": ("Found its version", "info", "rocket"),
    "queued": ("Queued", "idle", "circle-dashed"),
    "due": ("Delay over, queued", "idle", "clock"),
    "rescheduled": ("Rescheduled", "idle", "calendar-clock"),
    "dequeued": ("Given to a worker", "info", "circle-dot"),
    "started": ("Attempt started", "info", "play"),
    "waiting": ("Began to wait", "wait", "hourglass"),
    "input": ("Was sent input", "info", "mail"),
    "woken": ("Wait over", "wait", "bell"),
    "resumed": ("Resumed", "info", "play"),
    "retrying": ("Retrying", "warn", "rotate-ccw"),
    "returned": ("Given back by its worker", "warn", "undo-2"),
    "rescued": ("Taken back from a lost worker", "warn", "wifi-off"),
    "cancel_requested": ("Cancellation asked for", "warn", "ban"),
}


def moves(events: Sequence[Any]) -> list[Move]:
    """The timeline of a run from its events, in their order."""
    return [
        _move(event, events[index - 1].at if index else None) for index, event in enumerate(events)
    ]


def _move(event: Any, before: datetime | None) -> Move:
    label, tone, icon = _WORDS.get(event.kind) or _of_status(event)
    if event.kind == "started" and event.attempt:
        label = f"Attempt {event.attempt} started"
    return Move(
        label=label,
        tone=tone,
        icon=icon,
        at=event.at,
        after=event.at - before if before else None,
        note=_note(event.detail or {}),
    )


def _of_status(event: Any) -> tuple[str, str, str]:
    if event.kind == str(event.status).lower():
        look = look_of(event.status)
        return look.label, look.tone, look.icon
    return str(event.kind).replace("_", " ").capitalize(), "idle", "circle"


def _note(detail: dict[str, Any]) -> str:
    if waits := detail.get("waitpoints"):
        return f"for {len(waits)} {'thing' if len(waits) == 1 else 'things'}"
    if key := detail.get("input"):
        return str(key)
    return str(detail.get("reason") or detail.get("error") or "")
