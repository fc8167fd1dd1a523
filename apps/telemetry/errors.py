"""What can go wrong when telemetry is taken in or read back."""

from __future__ import annotations

from apps.core.errors import DomainError, Unavailable


class MalformedExport(DomainError):
    """This is not an OTLP export"""

    code = "malformed_export"
    status = 400


class TelemetryUnavailable(Unavailable):
    """Logs and traces cannot be read at the moment: ClickHouse does not answer. Runs go on."""

    code = "telemetry_unavailable"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message, detail={"retry_after": 5})


class StoreDown(Exception):
    """ClickHouse cannot be reached, or refuses work for a reason that may pass."""


class StoreRejected(Exception):
    """These rows can never be written, however often they are sent."""
