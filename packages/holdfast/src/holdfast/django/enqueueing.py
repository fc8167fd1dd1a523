"""Enqueue a run as a part of the caller's transaction."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Unpack, cast

from django.conf import settings
from django.db import transaction

from holdfast import packets
from holdfast.client import SyncHoldfastClient, TriggerOptions
from holdfast.client.triggers import Duration
from holdfast.errors import HoldfastError
from holdfast.tasks import Task
from holdfast.triggering import Options, item

log = logging.getLogger("holdfast.django")


def enqueue(
    task: str | Task[Any, Any],
    payload: Any = None,
    *,
    outbox: bool | None = None,
    using: str | None = None,
    **options: Unpack[Options],
) -> None:
    """Start a run when the current transaction has committed, and only then.

    Without the outbox the call to the server is made right after the commit, in this process: a
    server that cannot be reached then is logged, and the run is lost. With it a row is written in
    the transaction, and the relay starts the run exactly once, however often anything fails.

    Args:
        task: The id of a task, or the task.
        payload: The payload; what it is now counts, even when it is changed before the commit.
        outbox: Whether to go through the outbox; None: the setting ``HOLDFAST_OUTBOX``, or else no.
        using: The alias of the database whose transaction counts; None: the default one.
        **options: See `holdfast.Options`. A delay in seconds counts from now.

    Raises:
        PacketError: The payload cannot be encoded.
    """
    name = task if isinstance(task, str) else task.id
    chosen = dict(item(name, None, **options).options)
    if "delay" in chosen:
        chosen["delay"] = _moment(cast(Duration | datetime, chosen["delay"]))
    packet = packets.encode(payload)
    if getattr(settings, "HOLDFAST_OUTBOX", False) if outbox is None else outbox:
        _write(name, packet, chosen, using=using)
        return

    def trigger() -> None:
        try:
            value = packets.decode(packet.data, packet.data_type)
            client().trigger(name, value, **cast(TriggerOptions, chosen))
        except HoldfastError:  # what is committed cannot be undone, and other hooks are to run
            log.exception("no run of %s was started: only the outbox would try again", name)

    transaction.on_commit(trigger, using=using, robust=True)


def _write(
    task: str, packet: packets.Packet, options: Mapping[str, Any], *, using: str | None
) -> None:
    # Imported late: models need an installed app, which only the outbox does.
    from holdfast.django.models import OutboxEntry

    OutboxEntry.objects.using(using).create(
        task=task,
        payload=packet.data,
        payload_type=packet.data_type,
        options=_as_json(options),
    )


def _moment(delay: Duration | datetime) -> str:
    """A delay that counts from now, however late it is sent; text stays as it is."""
    if isinstance(delay, str):
        return delay
    if isinstance(delay, datetime):
        return (delay if delay.tzinfo else delay.astimezone()).isoformat()
    length = delay if isinstance(delay, timedelta) else timedelta(seconds=delay)
    return (datetime.now(UTC) + length).isoformat()


def _as_json(options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: f"{round(value.total_seconds())}s"
        if isinstance(value, timedelta)
        else list(value)
        if isinstance(value, tuple)
        else value
        for name, value in options.items()
    }


@cache
def client() -> SyncHoldfastClient:
    """The client of this process, by the settings or the environment."""
    return SyncHoldfastClient(
        api_url=getattr(settings, "HOLDFAST_API_URL", None) or os.environ.get("HOLDFAST_API_URL"),
        secret_key=getattr(settings, "HOLDFAST_SECRET_KEY", None)
        or os.environ.get("HOLDFAST_SECRET_KEY"),
    )
