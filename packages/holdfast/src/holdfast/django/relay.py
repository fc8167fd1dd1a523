"""The relay: starts the runs of the outbox, each exactly once.

An entry is sent while its row is locked, under a key that never changes. Should the process die
between the server's answer and its own commit, the next one sends it again, and the server answers
with the run that it has.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, cast

from django.db import connections, transaction

from holdfast import packets
from holdfast.api_errors import ApiConnectionError, ApiError, RateLimitError, ServerError
from holdfast.client import SyncHoldfastClient, TriggerOptions
from holdfast.django.models import OutboxEntry

PORTION = 50
LONGEST_PAUSE = timedelta(minutes=5)
_PASSING = (ApiConnectionError, ServerError, RateLimitError)


def relay(
    client: SyncHoldfastClient, *, clock: Callable[[], datetime], using: str = "default"
) -> int:
    """Send a portion of what waits, oldest first.

    Any number of relays may run where the database can skip locked rows (PostgreSQL, MySQL 8);
    elsewhere, as on SQLite, one.

    Args:
        client: The client of the environment that the runs are of.
        clock: Tells the time.
        using: The alias of the database that has the outbox.

    Returns:
        How many entries were looked at; fewer than `PORTION` means that nothing waits.
    """
    with transaction.atomic(using=using):
        entries = _take(clock(), using)
        for entry in entries:
            _send(client, entry, clock)
            if entry.error and entry.failed_at is None:
                # the server is not well: what comes after this one would only wait for it, too
                return entries.index(entry) + 1
    return len(entries)


def _take(now: datetime, using: str) -> list[OutboxEntry]:
    waiting = OutboxEntry.objects.using(using).filter(
        sent_at=None, failed_at=None, available_at__lte=now
    )
    if connections[using].features.has_select_for_update_skip_locked:
        waiting = waiting.select_for_update(skip_locked=True)
    return list(waiting.order_by("available_at", "id")[:PORTION])


def _send(client: SyncHoldfastClient, entry: OutboxEntry, clock: Callable[[], datetime]) -> None:
    entry.attempts += 1
    options: dict[str, Any] = {**entry.options, "request_key": entry.request_key}
    try:
        payload = packets.decode(entry.payload, entry.payload_type)
        handle = client.trigger(entry.task, payload, **cast(TriggerOptions, options))
    except _PASSING as error:
        entry.error = str(error)
        entry.available_at = clock() + min(LONGEST_PAUSE, timedelta(seconds=2**entry.attempts))
    except ApiError as error:  # the server understood and refused: it would do so again
        entry.error, entry.failed_at = str(error), clock()
    else:
        entry.error, entry.sent_at, entry.run_id = "", clock(), handle.id
    entry.save(
        update_fields=["attempts", "error", "available_at", "failed_at", "sent_at", "run_id"]
    )


def retry_failed(*, now: datetime, using: str = "default") -> int:
    """Have another try at what the server has refused; returns how many entries."""
    failed = OutboxEntry.objects.using(using).filter(failed_at__isnull=False)
    return failed.update(failed_at=None, error="", available_at=now)


def forget_sent(*, before: datetime, using: str = "default") -> int:
    """Remove entries that were sent before a moment, at most 1,000; returns how many."""
    sent = OutboxEntry.objects.using(using).filter(sent_at__lt=before)
    keys = list(sent.order_by("sent_at").values_list("pk", flat=True)[:1_000])
    OutboxEntry.objects.using(using).filter(pk__in=keys).delete()
    return len(keys)
