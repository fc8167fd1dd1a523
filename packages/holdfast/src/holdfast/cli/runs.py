"""Looking at runs, and acting on them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, cast

import click
from rich.text import Text

from holdfast.api_errors import NotFoundError
from holdfast.cli.exits import CliError, Exit
from holdfast.cli.output import Column, age, duration, tone
from holdfast.cli.session import ENVIRONMENTS, Session, pass_session
from holdfast.cli.tree import Group
from holdfast.cli.values import json_value
from holdfast.client import SyncHoldfastClient
from holdfast.client.results import RunLog, RunSummary
from holdfast.client.runs import RunFilters

_STATUSES = (
    "PENDING_VERSION", "DELAYED", "QUEUED", "DEQUEUED", "EXECUTING", "WAITING", "COMPLETED",
    "FAILED", "CANCELED", "CRASHED", "SYSTEM_FAILURE", "EXPIRED", "TIMED_OUT",
)  # fmt: skip
_POLL_SECONDS = 1.0
# Logs reach the store a moment after the run has ended.
_LATE_LOGS_SECONDS = 2.0


def _took(run: RunSummary) -> str:
    if run.started_at is None:
        return ""
    end = run.finished_at or datetime.now(UTC)
    return duration((end - run.started_at).total_seconds())


RUN_COLUMNS: list[Column] = [
    ("RUN", lambda run: run.id),
    ("TASK", lambda run: run.task),
    ("STATUS", lambda run: run.status),
    ("VERSION", lambda run: run.version),
    ("CREATED", lambda run: age(run.created_at)),
    ("TOOK", _took),
    ("TAGS", lambda run: ", ".join(run.tags)),
]

RUN_FIELDS: list[Column] = [
    ("run", lambda run: run.id),
    ("task", lambda run: run.task),
    ("status", lambda run: run.status),
    ("reason", lambda run: run.reason),
    ("version", lambda run: run.version),
    ("attempts", lambda run: run.attempt_count),
    ("tags", lambda run: ", ".join(run.tags)),
    ("created", lambda run: run.created_at),
    ("delayed until", lambda run: run.delayed_until),
    ("started", lambda run: run.started_at),
    ("finished", lambda run: run.finished_at),
    ("took", _took),
    ("test", lambda run: run.is_test or None),
    ("idempotency key", lambda run: run.idempotency_key),
    ("batch", lambda run: run.batch_id),
    ("parent", lambda run: run.related_runs.parent and run.related_runs.parent.id),
    ("children", lambda run: len(run.related_runs.children) or None),
    ("metadata", lambda run: run.metadata),
    ("payload", lambda run: run.payload),
    ("output", lambda run: run.output),
    ("error", lambda run: run.error and f"{run.error.name or 'Error'}: {run.error.message}"),
    ("traceback", lambda run: run.error and run.error.stack_trace),
]


@contextmanager
def looking_for(session: Session, run_id: str) -> Iterator[None]:
    """Say where a run was looked for in vain: it may well be in another environment."""
    try:
        yield
    except NotFoundError:
        here = session.place
        others = ", ".join(name for name in ENVIRONMENTS if name != here)
        raise CliError(
            f"There is no run {run_id} in {here} at {session.api_url}: "
            f"name another environment with --env ({others}).",
            Exit.NOT_FOUND,
        ) from None


@click.group(cls=Group)
def runs() -> None:
    """Look at runs: list, show, cancel, replay, logs."""


@runs.command("list")
@click.option(
    "--status",
    multiple=True,
    type=click.Choice(_STATUSES, case_sensitive=False),
    metavar="STATUS",
    help=f"One of {', '.join(_STATUSES)}; may be repeated.",
)
@click.option("--task", multiple=True, metavar="ID", help="Only runs of this task.")
@click.option("--tag", multiple=True, help="Only runs with this tag.")
@click.option("--version", multiple=True, metavar="VERSION", help="Only runs of this version.")
@click.option("--queue", multiple=True, metavar="NAME", help="A queue, or task/ID.")
@click.option("--batch", metavar="ID", help="Only runs of this batch.")
@click.option("--period", metavar="LENGTH", help="How far back, such as 7d.")
@click.option("--test/--no-test", "is_test", default=None, help="Only test runs, or none.")
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=25,
    show_default=True,
    metavar="N",
    help="How many.",
)
@pass_session
def list_(session: Session, /, limit: int, **filters: Any) -> None:
    """List runs, newest first.

    \b
    holdfast runs list --status FAILED --task resize --period 1d
    """
    given = cast(RunFilters, {name: v for name, v in filters.items() if v not in (None, ())})
    found = session.client().runs.list(size=min(limit, 100), **given)
    session.output.show(list(itertools.islice(found, limit)), RUN_COLUMNS)


@runs.command()
@click.argument("run_id", metavar="RUN")
@pass_session
def show(session: Session, run_id: str) -> None:
    """Show everything about RUN."""
    with looking_for(session, run_id):
        run = session.client().runs.retrieve(run_id)
    session.output.show(run, RUN_FIELDS)


@runs.command()
@click.argument("run_ids", metavar="RUN...", nargs=-1, required=True)
@pass_session
def cancel(session: Session, run_ids: tuple[str, ...]) -> None:
    """Stop RUN; one that has ended stays as it is."""
    client = session.client()
    for run_id in run_ids:
        with looking_for(session, run_id):
            client.runs.cancel(run_id)
    session.output.show([{"id": run_id} for run_id in run_ids], [("CANCELED", lambda r: r["id"])])


@runs.command()
@click.argument("run_ids", metavar="RUN...", nargs=-1, required=True)
@pass_session
def replay(session: Session, run_ids: tuple[str, ...]) -> None:
    """Start RUN again, as a new run with the same payload."""
    client = session.client()
    again = []
    for run_id in run_ids:
        with looking_for(session, run_id):
            again.append({"id": client.runs.replay(run_id).id, "replayOf": run_id})
    session.output.show(again, [("RUN", lambda r: r["id"]), ("REPLAY OF", lambda r: r["replayOf"])])


@runs.command("send-input")
@click.argument("run_id", metavar="RUN")
@click.argument("key")
@click.argument("data", metavar="[JSON]", required=False, callback=json_value)
@pass_session
def send_input(session: Session, run_id: str, key: str, data: Any) -> None:
    """Send an item to the input KEY of RUN; @FILE reads a file, - stdin.

    \b
    holdfast runs send-input run_… approval '{"approved": true}'
    """
    with looking_for(session, run_id):
        session.client().runs.send_input(run_id, key, data)
    session.output.show([{"id": run_id, "key": key}], [("SENT TO", lambda sent: sent["id"])])


@runs.command()
@click.argument("run_id", metavar="RUN")
@click.option("--follow", "-f", is_flag=True, help="Go on until the run has ended.")
@pass_session
def logs(session: Session, run_id: str, follow: bool) -> Exit:
    """Print what RUN logged; with --json one object per line."""
    client = session.client()
    with looking_for(session, run_id):
        cursor = _print_logs(session, client, run_id, None)
    ended_at: float | None = None
    while follow:
        if client.runs.retrieve(run_id).is_final:
            ended_at = ended_at or time.monotonic()
            follow = time.monotonic() - ended_at < _LATE_LOGS_SECONDS
        time.sleep(_POLL_SECONDS if ended_at is None else _POLL_SECONDS / 4)
        cursor = _print_logs(session, client, run_id, cursor)
    return Exit.OK


def _print_logs(
    session: Session, client: SyncHoldfastClient, run_id: str, after: str | None
) -> str | None:
    """Print all lines after a cursor; returns that of the latest line."""
    for page in client.runs.logs(run_id, after=after).pages():
        for line in page.data:
            session.output.line(_log_text(line), line)
        after = page.latest or after
    return after


def _log_text(line: RunLog) -> Text:
    extra = "  ".join(f"{name}={value}" for name, value in line.attributes.items())
    return Text.assemble(
        (line.at.astimezone().strftime("%H:%M:%S.%f")[:-3], "dim"),
        " ",
        (line.level.ljust(5), tone(line.level)),
        f" {line.message}",
        (f"  {extra}" if extra else "", "dim"),
    )
