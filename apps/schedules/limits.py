"""Every number that bounds schedules, with its unit and default."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Protocol, Self


class _Source(Protocol):
    def integer(self, name: str, default: int, *, minimum: int = 0) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleLimits:
    """Read from variables named SCHEDULE_<FIELD>; seconds and days as the names say."""

    per_environment: int = 200_000
    grace_seconds: int = 60
    missed_ticks: int = 100
    backfill_ticks: int = 1_000
    tick_days: int = 30
    carried_bytes: int = 128 * 1024

    @classmethod
    def read(cls, source: _Source) -> Self:
        """Read every field from the environment; the source collects what is malformed."""
        values: dict[str, Any] = {
            name: source.integer(f"SCHEDULE_{name.upper()}", default)
            for name, default in asdict(cls()).items()
        }
        return cls(**values)


def limits() -> ScheduleLimits:
    """The limits of this process."""
    from django.conf import settings

    found: ScheduleLimits = settings.SCHEDULES
    return found
