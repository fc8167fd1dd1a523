"""What projects tell others."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectArchived:
    """A project was put away; nothing in it should start any more."""

    project_id: UUID
    at: datetime
