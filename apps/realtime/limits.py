"""Every number that bounds realtime, with its unit and default."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Protocol, Self


class _Source(Protocol):
    def integer(self, name: str, default: int, *, minimum: int = 0) -> int: ...
    def number(self, name: str, default: float, *, minimum: float = 0.0) -> float: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RealtimeLimits:
    """Read from variables named REALTIME_<FIELD>; seconds and counts are of one process."""

    streams: int = 10_000
    streams_per_person: int = 100
    streams_per_credential: int = 1_000
    buffered_messages: int = 64
    catch_up_changes: int = 1_000
    gather_seconds: float = 0.15
    poll_seconds: float = 1.0
    heartbeat_seconds: float = 15.0
    recheck_seconds: float = 30.0

    @classmethod
    def read(cls, source: _Source) -> Self:
        """Read every field from the environment; the source collects what is malformed."""
        values: dict[str, Any] = {
            name: source.integer(f"REALTIME_{name.upper()}", default, minimum=1)
            if isinstance(default, int)
            else source.number(f"REALTIME_{name.upper()}", default, minimum=0.01)
            for name, default in asdict(cls()).items()
        }
        return cls(**values)


def limits() -> RealtimeLimits:
    """The limits of this process."""
    from django.conf import settings

    found: RealtimeLimits = settings.REALTIME
    return found
