"""What streams say: a message is encoded once, and shared by all that are told the same."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from apps.core.ids import public_id
from apps.runs.feed import Change, Cursor


@dataclass(frozen=True)
class Message:
    """One thing to say, with the cursor to go on from after it.

    `runs` has changes. `resync` says that some are left out, and why: look at everything anew.
    `beat` only keeps the connection and the cursor fresh. `end` is the last, and says why.
    """

    event: str
    cursor: Cursor | None  # None leaves the client's own as it is
    data: Any = None

    @cached_property
    def as_event(self) -> bytes:
        """For Server-Sent Events; a beat is a comment that leaves its id behind."""
        place = f"id: {self.cursor}\n" if self.cursor else ""
        if self.event == "beat":
            return f"{place}: beat\n\n".encode()
        return f"{place}event: {self.event}\ndata: {_json(self.data)}\n\n".encode()

    @cached_property
    def as_frame(self) -> str:
        """For a WebSocket."""
        place = str(self.cursor) if self.cursor else None
        return _json({"event": self.event, "cursor": place, "data": self.data})


def told(changes: Iterable[Change], cursor: Cursor) -> Message:
    """These changes, by ids."""
    return Message("runs", cursor, [_change(change) for change in changes])


def resync(cursor: Cursor, reason: str) -> Message:
    return Message("resync", cursor, {"reason": reason})


def beat(cursor: Cursor) -> Message:
    return Message("beat", cursor)


def end(reason: str) -> Message:
    return Message("end", None, {"reason": reason})


def _change(change: Change) -> dict[str, Any]:
    found = {
        "run": public_id("run", change.run_id),
        "status": change.status,
        "kind": change.kind,
        "attempt": change.attempt,
        "task": change.task,
    }
    if change.parent_id:
        found["parent"] = public_id("run", change.parent_id)
    return found


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
