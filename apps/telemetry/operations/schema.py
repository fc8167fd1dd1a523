"""Keeping the schema of ClickHouse, by the numbered files of `schema/`."""

from __future__ import annotations

from apps.telemetry.errors import StoreDown, TelemetryUnavailable
from apps.telemetry.store import store


def migrate_telemetry() -> list[str]:
    """Apply what is missing and return its names; raises TelemetryUnavailable."""
    try:
        return store().migrate()
    except StoreDown as error:
        raise TelemetryUnavailable(f"ClickHouse does not answer: {error}") from error
