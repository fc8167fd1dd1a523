"""What the engine tells."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsReady:
    """Runs of this environment may start now."""

    environment_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequested:
    """A run that a worker session holds, executing or suspended, is being canceled."""

    run_id: UUID
    session_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsTriggered:
    """So many new runs were accepted."""

    environment_id: UUID
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsStarted:
    """Runs started for the first time, so many seconds after they might have."""

    waited_seconds: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsNoted:
    """Something about runs was noted that moves none of them: metadata, tags, another time."""

    environment_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsFinished:
    """Runs reached their final statuses, one for each."""

    run_ids: tuple[UUID, ...]
    statuses: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkActionCreated:
    """Many runs are to be canceled or replayed."""

    bulk_action_id: UUID
    environment_id: UUID
