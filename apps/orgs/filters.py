"""What of the audit log is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilters:
    """None, or no word, asks for everything."""

    about: str = ""  # what the action begins with, such as "member"
    actor_id: UUID | None = None
    environment_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None
