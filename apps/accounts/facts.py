"""What accounts tell others."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInLinkCreated:
    """A link to sign in with waits to be mailed."""

    link_id: UUID
    at: datetime
