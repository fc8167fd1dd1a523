"""Queues from the terminal."""

from __future__ import annotations

from typing import Any

import click

from holdfast.cli.exits import CliError, Exit
from holdfast.cli.output import Column
from holdfast.cli.session import Session, pass_session
from holdfast.cli.tree import Group
from holdfast.client.queues import QueueInfo, QueueRate


def _limit(info: QueueInfo) -> str | None:
    limit = info.concurrency
    if limit.current is None:
        return None
    return str(limit.current) if limit.override is None else f"{limit.current} (overridden)"


def _rate(rate: QueueRate | None) -> str | None:
    if rate is None:
        return None
    bursts = "in a window" if rate.burst is None else f"burst {rate.burst}"
    return f"{rate.limit} per {rate.period:g} s, {bursts}"


def _state(info: QueueInfo) -> str:
    if info.paused:
        return "paused"
    return "held by its rate" if info.held_until else "open"


def _queued(info: QueueInfo) -> str:
    return f"{info.queued}{'+' if info.queued >= 10_000 else ''}"


_COLUMNS: list[Column] = [
    ("QUEUE", lambda info: info.full_name),
    ("RUNNING", lambda info: info.running),
    ("QUEUED", _queued),
    ("LIMIT", _limit),
    ("TOTAL", lambda info: info.total_limit),
    ("STATE", _state),
]
_FIELDS: list[Column] = [
    ("queue", lambda info: info.full_name),
    ("id", lambda info: info.id),
    ("state", _state),
    ("running", lambda info: info.running),
    ("queued", _queued),
    ("limit", _limit),
    ("limit in code", lambda info: info.concurrency.base),
    ("total", lambda info: info.total_limit),
    ("rate", lambda info: _rate(info.rate)),
    ("rate of each key", lambda info: _rate(info.key_rate)),
    ("held until", lambda info: info.held_until),
    ("most queued", lambda info: info.max_queued),
    ("weight", lambda info: info.weight if info.weight != 1 else None),
]


_KEY_FIELDS: list[Column] = [
    ("queue", lambda limit: limit.name),
    ("key", lambda limit: limit.concurrency_key),
    ("limit", lambda limit: limit.per_key.current),
    ("of the queue", lambda limit: limit.per_key.base),
    ("until", lambda limit: limit.per_key.expires_at),
    ("running", lambda limit: limit.running),
]


@click.group(cls=Group)
def queues() -> None:
    """Queues: list, show, pause, resume, override, reset.

    QUEUE is a queue's name; the own queue of a task is task/<id>.
    """


@queues.command("list")
@click.option(
    "--page", type=click.IntRange(1), default=1, show_default=True, metavar="N", help="Which page."
)
@pass_session
def list_(session: Session, page: int) -> None:
    """List queues by name, 50 a page."""
    session.output.show(session.client().queues.list(page=page, per_page=50).data, _COLUMNS)


@queues.command()
@click.argument("queue", metavar="QUEUE")
@pass_session
def show(session: Session, queue: str) -> None:
    """Show a queue: its limits, its rates, and what waits in it."""
    session.output.show(session.client().queues.retrieve(queue), _FIELDS)


@queues.command()
@click.argument("queue", metavar="QUEUE")
@pass_session
def pause(session: Session, queue: str) -> None:
    """Start no more runs of a queue; those that execute go on."""
    session.output.show(session.client().queues.pause(queue), _FIELDS)


@queues.command()
@click.argument("queue", metavar="QUEUE")
@pass_session
def resume(session: Session, queue: str) -> None:
    """Let runs of a queue start again."""
    session.output.show(session.client().queues.resume(queue), _FIELDS)


@queues.command()
@click.argument("queue", metavar="QUEUE")
@click.argument("limit", type=click.IntRange(0), required=False, metavar="[LIMIT]")
@click.option("--total", type=click.IntRange(0), metavar="N", help="Runs at once over all keys.")
@click.option(
    "--percent", type=click.FloatRange(0, 100), metavar="P", help="Of the environment's limit."
)
@click.option("--key", metavar="KEY", help="Only for this concurrency key, for a while.")
@click.option("--for", "ttl", metavar="LENGTH", help="How long, for a key; 7d.")
@pass_session
def override(
    session: Session, /, queue: str, key: str | None, ttl: str | None, **limits: Any
) -> None:
    """Override the limits of a queue until they are reset.

    Deploys leave them alone.

    \b
    holdfast queues override emails 5
    holdfast queues override task/resize --percent 50 --env prod
    holdfast queues override emails 1 --key customer-7 --for 12h
    """
    if key is not None:
        _override_key(session, queue, key, ttl=ttl, **limits)
    elif ttl is not None:
        raise CliError("--for is for one --key.", Exit.USAGE)
    else:
        _override_queue(session, queue, **limits)


def _override_key(
    session: Session,
    queue: str,
    key: str,
    *,
    limit: int | None,
    ttl: str | None,
    **others: float | None,
) -> None:
    if limit is None or any(other is not None for other in others.values()):
        raise CliError("A key has a LIMIT, and neither --total nor --percent.", Exit.USAGE)
    changed = session.client().queues.override_key(queue, key, limit, ttl=ttl)
    session.output.show(changed, _KEY_FIELDS)


def _override_queue(
    session: Session, queue: str, *, limit: int | None, total: int | None, percent: float | None
) -> None:
    if limit is None and total is None and percent is None:
        raise CliError("Say LIMIT, --total or --percent.", Exit.USAGE)
    changed = session.client().queues.override(
        queue, limit, total_limit=total, percent=percent
    )  # fmt: skip
    session.output.show(changed, _FIELDS)


@queues.command()
@click.argument("queue", metavar="QUEUE")
@click.option("--key", metavar="KEY", help="Only that of this concurrency key.")
@pass_session
def reset(session: Session, queue: str, key: str | None) -> None:
    """Let the limits in code count again."""
    if key is not None:
        session.output.show(session.client().queues.reset_key(queue, key), _KEY_FIELDS)
        return
    session.output.show(session.client().queues.reset(queue), _FIELDS)
