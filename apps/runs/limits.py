"""Every number that bounds the engine, with its unit and default."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Protocol, Self


class _Source(Protocol):
    def integer(self, name: str, default: int, *, minimum: int = 0) -> int: ...
    def number(self, name: str, default: float, *, minimum: float = 0.0) -> float: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Read from variables named HOLDFAST_<FIELD>; bytes and seconds as the names say."""

    payload_bytes: int = 3 * 1024 * 1024
    metadata_bytes: int = 256 * 1024
    output_bytes: int = 10 * 1024 * 1024
    error_bytes: int = 256 * 1024
    tags_per_run: int = 10
    tag_length: int = 128
    name_length: int = 255
    idempotency_key_length: int = 2048
    idempotency_seconds: int = 30 * 86_400
    token_timeout_seconds: int = 600
    token_key_seconds: int = 3_600
    waitpoint_days: int = 30
    input_bytes: int = 1024 * 1024
    inputs_per_run: int = 10_000
    input_total_bytes: int = 64 * 1024 * 1024
    attempts_per_run: int = 250
    default_attempts: int = 3
    journal_entries: int = 10_000
    journal_inline_bytes: int = 128 * 1024
    batch_items: int = 10_000
    batch_seal_seconds: int = 1_800
    bulk_runs: int = 500
    bulk_actions: int = 10
    bulk_days: int = 30
    development_ttl_seconds: int = 600
    hello_seconds: float = 10.0
    delivery_seconds: int = 10
    lease_seconds: int = 60
    beat_seconds: int = 15
    deliveries_per_attempt: int = 20
    cancel_grace_seconds: float = 30.0
    short_retry_seconds: float = 5.0
    claim_batch: int = 200
    claim_wait_seconds: float = 0.1
    debounce_seconds: int = 3_600
    debounce_key_length: int = 512
    lane_idle_seconds: int = 3_600
    poll_seconds: float = 1.0
    duty_seconds: float = 1.0
    partition_days_ahead: int = 7
    history_days: int = 90
    worker_idle_seconds: int = 60
    suspend_after_seconds: int = 60
    freeze_seconds: int = 60

    @classmethod
    def read(cls, source: _Source) -> Self:
        """Read every field from the environment; the source collects what is malformed."""
        defaults = asdict(cls())
        values: dict[str, Any] = {
            name: source.integer(f"HOLDFAST_{name.upper()}", default)
            if isinstance(default, int)
            else source.number(f"HOLDFAST_{name.upper()}", default)
            for name, default in defaults.items()
        }
        return cls(**values)


def limits() -> Limits:
    """The limits of this process."""
    from django.conf import settings

    found: Limits = settings.LIMITS
    return found
