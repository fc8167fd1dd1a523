"""What environments tell others."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentPaused:
    """No run starts in this environment until it is resumed; what executes goes on."""

    environment_id: UUID
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentResumed:
    """Runs may start in this environment again."""

    environment_id: UUID
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentLimitsChanged:
    """Another number of runs may execute in this environment at once."""

    environment_id: UUID
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentArchived:
    """A branch was put away; its key and name open nothing any more."""

    environment_id: UUID
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class VariablesChanged:
    """Workers that start from now on get other variables."""

    environment_id: UUID
    at: datetime
