"""Forgetting a customer's idempotency key."""

from __future__ import annotations

from datetime import timedelta

import pytest

from apps.core.errors import NotFound
from apps.runs.models import IdempotencyKey
from apps.runs.operations.idempotency import reset_idempotency_key
from tests.runs.engine import NOW, later, trigger

pytestmark = pytest.mark.django_db


def reset(acme, task="hello", key="k", now=NOW):
    reset_idempotency_key(acme.scope, task=task, key_hash=key, now=now)


def test_after_a_reset_the_key_makes_a_new_run(acme, worker):
    first = trigger(acme.scope, idempotency_key="k")
    reset(acme)
    second = trigger(acme.scope, idempotency_key="k")
    assert second != first
    assert trigger(acme.scope, idempotency_key="k") == second


def test_only_the_key_of_that_task_is_forgotten(acme, worker):
    other = trigger(acme.scope, "parent", idempotency_key="k")
    trigger(acme.scope, "hello", idempotency_key="k")
    reset(acme, "hello")
    assert trigger(acme.scope, "parent", idempotency_key="k") == other


def test_a_key_that_is_not_there_is_not_found(acme, worker):
    with pytest.raises(NotFound):
        reset(acme)


def test_a_key_that_has_expired_is_not_found(acme, worker):
    trigger(acme.scope, idempotency_key="k", idempotency_ttl=timedelta(seconds=5))
    with pytest.raises(NotFound):
        reset(acme, now=later(5))


def test_the_keys_of_calls_and_tokens_are_not_the_customers_to_forget(acme, worker):
    trigger(acme.scope, request_key="k", token_digest=b"k")
    with pytest.raises(NotFound):
        reset(acme)
    assert IdempotencyKey.objects.count() == 2


def test_charlie_forgets_none_of_alices_keys(acme, worker, charlie):
    trigger(acme.scope, idempotency_key="k")
    with pytest.raises(NotFound):
        reset(charlie)
    assert IdempotencyKey.objects.exists()
