"""Every number that bounds telemetry, with its unit and default."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Protocol, Self

from django.conf import settings


class _Source(Protocol):
    def integer(self, name: str, default: int, *, minimum: int = 0) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetryLimits:
    """Read from variables named TELEMETRY_<FIELD>; bytes, days and milliseconds as names say."""

    request_bytes: int = 4 * 1024 * 1024
    message_bytes: int = 64 * 1024
    value_bytes: int = 16 * 1024
    attributes_per_row: int = 128
    buffer_rows: int = 200_000
    buffer_bytes: int = 64 * 1024 * 1024
    batch_rows: int = 10_000
    flush_milliseconds: int = 1_000
    retention_days: int = 30

    @classmethod
    def read(cls, source: _Source) -> Self:
        """Read every field from the environment; the source collects what is malformed."""
        values = {
            field.name: source.integer(
                f"TELEMETRY_{field.name.upper()}", int(str(field.default)), minimum=1
            )
            for field in fields(cls)
        }
        return cls(**values)


def limits() -> TelemetryLimits:
    """The limits of this process."""
    found: TelemetryLimits = settings.TELEMETRY
    return found
