"""What a caller asks for when it triggers a run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from apps.runs.policy import Debounce
from apps.runs.states import Overlap


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerRequest:
    """What a caller asks for; None means the task's, or else the platform's, default.

    `ttl` of zero means that the run never expires. `token_digest` is a one-time public token that
    this run consumes, `request_key` one logical call of a client whose retries must not count.
    """

    task: str
    payload: str | None = None
    payload_type: str = "application/json"
    queue: str | None = None
    concurrency_key: str | None = None
    idempotency_key: str | None = None
    idempotency_ttl: timedelta | None = None
    idempotency_options: dict[str, Any] | None = None
    request_key: str | None = None
    token_digest: bytes | None = None
    delay_until: datetime | None = None
    ttl: timedelta | None = None
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] | None = None
    metadata_type: str = "application/json"
    machine: str | None = None
    max_attempts: int | None = None
    max_duration_seconds: int | None = None
    priority_seconds: float = 0
    is_test: bool = False
    version: str | None = None
    parent_run_id: UUID | None = None
    resume_parent: bool = False
    batch_id: UUID | None = None
    batch_index: int | None = None
    source: str = "api"
    traceparent: str | None = None
    replay_of_id: UUID | None = None
    schedule_id: UUID | None = None
    debounce: Debounce | None = None
    overlap: Overlap | None = None
