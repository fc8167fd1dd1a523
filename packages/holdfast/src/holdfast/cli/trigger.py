"""Starting a run from the terminal."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

import click

from holdfast.cli.exits import CliError, Exit
from holdfast.cli.runs import RUN_FIELDS
from holdfast.cli.session import Session, pass_session
from holdfast.cli.tree import Command
from holdfast.cli.values import json_value
from holdfast.client import SyncHoldfastClient, TriggerOptions
from holdfast.client.results import Run
from holdfast.flow import OVERLAPS

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

# Within this a run that can start has started; then a person wants to know why it has not.
_PATIENCE_SECONDS = 1.0
_RUN_OPTIONS = (
    click.option("--ttl", metavar="LENGTH", help="Expire when not started by then, such as 1h."),
    click.option("--tag", "tags", multiple=True, metavar="TAG", help="A tag; may be repeated."),
    click.option("--metadata", metavar="JSON", callback=json_value, help="A JSON object."),
    click.option("--queue", metavar="NAME", help="Another queue than the task's own."),
    click.option("--concurrency-key", metavar="KEY", help="A lane of the queue of its own."),
    click.option("--machine", metavar="PRESET", help="Such as small-2x."),
    click.option(
        "--max-attempts", type=click.IntRange(1), metavar="N", help="Instead of the task's own."
    ),
    click.option(
        "--max-duration",
        type=click.FloatRange(0, min_open=True),
        metavar="SECONDS",
        help="Of execution time.",
    ),
    click.option(
        "--priority", type=float, metavar="SECONDS", help="Seconds of head start in the queue."
    ),
)


def run_options(command: Decorated) -> Decorated:
    """Add what may be said of a run, whatever starts it."""
    for option in reversed(_RUN_OPTIONS):
        command = option(command)
    return command


@click.command(cls=Command)
@click.argument("task")
@click.option(
    "--payload", metavar="JSON", callback=json_value, help="JSON, or @file, or - for stdin."
)
@click.option("--delay", metavar="WHEN", help="Start later: 10m, 1h30m, or an ISO 8601 date.")
@run_options
@click.option("--idempotency-key", metavar="KEY", help="The same key twice starts one run.")
@click.option(
    "--overlap",
    type=click.Choice(OVERLAPS),
    help="What becomes of it while a run of TASK is open.",
)
@click.option("--version", metavar="VERSION", help="Run exactly this version.")
@click.option("--test", is_flag=True, help="Mark the run as a test.")
@click.option("--wait", is_flag=True, help="Wait for the end; a failed run gives exit code 1.")
@click.option("--timeout", type=float, metavar="SECONDS", help="Wait no longer than this.")
@pass_session
def trigger(
    session: Session,
    /,
    task: str,
    payload: Any,
    wait: bool,
    timeout: float | None,
    **options: Any,
) -> Exit:
    """Start a run of TASK.

    \b
    holdfast trigger hello --payload '"alice"' --wait
    holdfast trigger resize --payload @order.json --tag user_1 --delay 10m
    """
    given = cast(TriggerOptions, {name: value for name, value in options.items() if value})
    client = session.client()
    handle = client.trigger(task, payload, **given)
    if not wait:
        session.output.show(
            handle,
            [
                ("run", lambda h: h.id),
                ("note", lambda h: "no new run: this one was there" * h.is_cached),
            ],
        )
        return Exit.OK
    with session.output.busy(f"Waiting for {handle.id}…"):
        run = _ended(session, client, handle.id, timeout=timeout)
    session.output.show(run, RUN_FIELDS)
    return verdict(run)


def _ended(
    session: Session, client: SyncHoldfastClient, run_id: str, *, timeout: float | None
) -> Run:
    """The run once it has ended; meanwhile the reasons why it does not run, each once."""
    deadline = time.monotonic() + (math.inf if timeout is None else timeout)
    told: str | None = None
    while True:
        left = deadline - time.monotonic()
        try:
            return client.runs.wait(run_id, timeout=min(left, _PATIENCE_SECONDS))
        except TimeoutError:
            run = client.runs.retrieve(run_id)
            if run.reason and run.reason != told:
                told = run.reason
                session.output.note(f"{run_id}: {told}")
            if time.monotonic() >= deadline:
                raise TimeoutError(
                    f"Run {run_id} is {run.status} after {timeout:g} seconds."
                ) from None


def verdict(run: Run) -> Exit:
    """What a run that has ended means for the exit code; raises CliError."""
    if run.is_success:
        return Exit.OK
    reason = f": {run.error.message}" if run.error else ""
    raise CliError(f"{run.id} is {run.status}{reason}", Exit.FAILED)
