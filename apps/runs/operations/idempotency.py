"""Forget a customer's idempotency key."""

from __future__ import annotations

from datetime import datetime

from apps.core.errors import NotFound
from apps.environments.scope import Scope
from apps.runs.models import IdempotencyKey
from apps.runs.policy import key_digest
from apps.runs.states import KeyKind


def reset_idempotency_key(scope: Scope, *, task: str, key_hash: str, now: datetime) -> None:
    """Forget a customer's key, so that the next trigger with it runs again; NotFound if none."""
    removed, _ = IdempotencyKey.objects.filter(
        environment_id=scope.environment_id,
        kind=KeyKind.USER,
        task=task,
        digest=key_digest(key_hash),
        expires_at__gt=now,
    ).delete()
    if not removed:
        raise NotFound
