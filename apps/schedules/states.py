"""The kinds of schedule, their policies for overlaps and missed times, and how a tick ends."""

from __future__ import annotations

from enum import StrEnum


class ScheduleKind(StrEnum):
    DECLARATIVE = "declarative"  # declared in code, follows the promoted version
    IMPERATIVE = "imperative"  # made by a person or a program


class Overlap(StrEnum):
    ALLOW = "allow"
    SKIP = "skip"  # no run while the latest is open
    QUEUE = "queue"  # one tick waits until the latest run has ended, further ones are skipped
    CANCEL = "cancel"  # the latest run is canceled when it is open still


class Missed(StrEnum):
    SKIP = "skip"
    ONE = "one"  # the latest missed time, late
    ALL = "all"  # the latest so many missed times, late


class Outcome(StrEnum):
    TRIGGERED = "triggered"
    SKIPPED = "skipped"
    MISSED = "missed"
    FAILED = "failed"


class Origin(StrEnum):
    TICK = "tick"
    BACKFILL = "backfill"
