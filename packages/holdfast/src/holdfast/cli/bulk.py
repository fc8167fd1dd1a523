"""Acting on many runs from the terminal."""

from __future__ import annotations

import itertools
import time
from typing import Any, cast

import click

from holdfast.cli.exits import CliError, Exit
from holdfast.cli.output import Column, age
from holdfast.cli.session import Session, pass_session
from holdfast.cli.tree import Group
from holdfast.client.bulk import BulkAction
from holdfast.client.runs import RunFilters

_POLL_SECONDS = 0.5
_COLUMNS: list[Column] = [
    ("BULK ACTION", lambda action: action.id),
    ("TYPE", lambda action: action.type),
    ("STATUS", lambda action: action.status),
    ("RUNS", lambda action: action.counts.total),
    ("DONE", lambda action: action.counts.success),
    ("FAILED", lambda action: action.counts.failure),
    ("CREATED", lambda action: age(action.created_at)),
    ("NAME", lambda action: action.name),
]


def _chosen(command: Any) -> Any:
    """The options that say which runs."""
    for option in reversed(
        (
            click.option("--status", multiple=True, metavar="STATUS", help="May be repeated."),
            click.option("--task", multiple=True, metavar="TASK", help="May be repeated."),
            click.option("--tag", multiple=True, metavar="TAG", help="May be repeated."),
            click.option("--queue", multiple=True, metavar="NAME", help="May be repeated."),
            click.option("--version", multiple=True, metavar="VERSION", help="May be repeated."),
            click.option("--batch", metavar="BATCH", help="The id of a batch."),
            click.option("--period", metavar="LENGTH", help="How far back; 7d."),
            click.option("--run", "runs", multiple=True, metavar="RUN", help="Instead: these."),
            click.option("--name", metavar="TEXT", help="For people."),
            click.option("--wait", is_flag=True, help="Until all are done."),
        )
    ):
        command = option(command)
    return command


@click.group(cls=Group)
def bulk() -> None:
    """Many runs at once: cancel, replay, list, show, abort."""


@bulk.command()
@_chosen
@pass_session
def cancel(session: Session, /, **options: Any) -> Exit:
    """Stop many runs.

    \b
    holdfast bulk cancel --task resize --status QUEUED --wait
    """
    return _start(session, "cancel", options)


@bulk.command()
@_chosen
@pass_session
def replay(session: Session, /, **options: Any) -> Exit:
    """Start many runs again, as new runs with the same payloads.

    \b
    holdfast bulk replay --status FAILED --period 1d
    """
    return _start(session, "replay", options)


def _start(session: Session, kind: str, options: dict[str, Any]) -> Exit:
    is_awaited = options.pop("wait")
    runs, name = options.pop("runs"), options.pop("name")
    chosen = {key: value for key, value in options.items() if value}
    if bool(runs) == bool(chosen):
        raise CliError("Say which runs: by options, or by --run.", Exit.USAGE)
    group = session.client().bulk
    begin = group.cancel if kind == "cancel" else group.replay
    action_id = begin(runs=runs, name=name, **cast(RunFilters, chosen))
    action = _ended(session, action_id) if is_awaited else group.retrieve(action_id)
    session.output.show(action, [(label.lower(), read) for label, read in _COLUMNS])
    return Exit.FAILED if action.counts.failure else Exit.OK


def _ended(session: Session, action_id: str) -> BulkAction:
    group = session.client().bulk
    with session.output.busy(f"Waiting for {action_id}…") as tell:
        while not (action := group.retrieve(action_id)).is_final:
            tell(f"{action.counts.success + action.counts.failure} of {action.counts.total}…")
            time.sleep(_POLL_SECONDS)
    return action


@bulk.command("list")
@click.option("--limit", type=click.IntRange(1), default=20, metavar="N", help="How many; 20.")
@pass_session
def list_(session: Session, limit: int) -> None:
    """List bulk actions, newest first."""
    pages = session.client().bulk.list(size=min(limit, 100))
    session.output.show(list(itertools.islice(pages, limit)), _COLUMNS)


@bulk.command()
@click.argument("action_id", metavar="ACTION")
@pass_session
def show(session: Session, action_id: str) -> None:
    """Show how far ACTION is."""
    found = session.client().bulk.retrieve(action_id)
    session.output.show(found, [(label.lower(), read) for label, read in _COLUMNS])


@bulk.command()
@click.argument("action_id", metavar="ACTION")
@pass_session
def abort(session: Session, action_id: str) -> None:
    """Stop ACTION; what it did stays done."""
    session.client().bulk.abort(action_id)
    session.output.show({"id": action_id}, [("aborted", lambda row: row["id"])])
