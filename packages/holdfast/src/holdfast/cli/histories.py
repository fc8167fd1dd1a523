"""Histories of durable runs: fetch them, replay them with the code of today, fork from them."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from holdfast import project
from holdfast.cli.exits import CliError, Exit
from holdfast.cli.output import Column, duration
from holdfast.cli.runs import looking_for, runs
from holdfast.cli.session import Session, pass_session
from holdfast.cli.tree import Command
from holdfast.errors import NonDeterminismError
from holdfast.protocol import Entry
from holdfast.testing import History, replay

_REPLAYED: list[Column] = [
    ("FILE", lambda each: each["file"]),
    ("TASK", lambda each: each["task"]),
    ("RUN", lambda each: each["run"]),
    ("RESULT", lambda each: each["result"]),
]
_RECORDED: list[Column] = [
    ("POSITION", lambda each: each["position"]),
    ("KIND", lambda each: each["kind"]),
    ("NAME", lambda each: each["name"]),
    ("OK", lambda each: each["ok"]),
    ("TRIES", lambda each: each["attempts"]),
    ("TOOK", lambda each: duration((each["tookMs"] or 0) / 1000)),
    ("ERROR", lambda each: each["error"]),
]


@runs.command()
@click.argument("run_id", metavar="RUN")
@click.option("--out", "-o", type=click.Path(path_type=Path), help="A file, instead of stdout.")
@pass_session
def history(session: Session, run_id: str, out: Path | None) -> None:
    """Write the history of durable RUN as JSON, for `holdfast replay-history`.

    \b
    holdfast runs history run_… -o tests/histories/order.json
    """
    client = session.client()
    with looking_for(session, run_id):
        run = client.runs.retrieve(run_id)
        journal = tuple(client.runs.journal(run_id))
        payload = client.runs.payload(run_id)
    found = History.taken(
        run=run.id,
        task=run.task,
        status=run.status,
        version=run.version or "",
        payload=payload,
        journal=journal,
    )
    if out is None:
        click.echo(json.dumps(found.to_json(), indent=1))
    else:
        found.save(out)


@runs.command()
@click.argument("run_id", metavar="RUN")
@pass_session
def journal(session: Session, run_id: str) -> None:
    """List what durable RUN has recorded, with what `runs fork` may name."""
    with looking_for(session, run_id):
        entries = session.client().runs.journal(run_id)
        session.output.show([_shown(entry) for entry in entries], _RECORDED)


def _shown(entry: Entry) -> dict[str, Any]:
    message = (entry.error or {}).get("message", "")
    return {
        "position": entry.position,
        "kind": entry.kind,
        "name": entry.name,
        "ok": entry.ok,
        "attempts": entry.attempts,
        "tookMs": entry.took_ms,
        "error": message,
    }


@runs.command()
@click.argument("run_id", metavar="RUN")
@click.option(
    "--from", "start", required=True, metavar="STEP", help="A position, or the name of a step."
)
@click.option("--version", metavar="VERSION", help="Run on this version instead of the current.")
@pass_session
def fork(session: Session, run_id: str, start: str, version: str | None) -> None:
    """Start a new run that begins where durable RUN came to STEP.

    What RUN has recorded before STEP is taken over; STEP and what follows is done again.

    \b
    holdfast runs fork run_… --from charge
    """
    with looking_for(session, run_id):
        made = session.client().runs.fork(run_id, start=start, version=version)
    session.output.show(
        [{"id": made.id, "forkOf": run_id}],
        [("RUN", lambda each: each["id"]), ("FORK OF", lambda each: each["forkOf"])],
    )


@click.command("replay-history", cls=Command)
@click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@pass_session
def replay_history(session: Session, files: tuple[Path, ...]) -> Exit:
    """Replay histories of durable runs with the code in this project.

    No step is executed. Exits with 1 when the code of today would not do what a run has done, so
    that runs which are under way would fail on it.

    \b
    holdfast replay-history tests/histories/*.json
    """
    histories = [(path, _load(path)) for path in files]
    found = project.load(project.find())
    sys.path.insert(0, os.getcwd())
    project.import_tasks(found)
    results = [_replayed(path, each) for path, each in histories]
    session.output.show(results, _REPLAYED)
    return Exit.OK if all(each["ok"] for each in results) else Exit.FAILED


def _load(path: Path) -> History:
    try:
        return History.load(path)
    except OSError as error:
        raise CliError(f"{path} cannot be read: {error.strerror}", Exit.USAGE) from None
    except ValueError as error:
        raise CliError(f"{path}: {error}", Exit.USAGE) from None


def _replayed(path: Path, each: History) -> dict[str, object]:
    shown = {"file": str(path), "task": each.task, "run": each.run}
    try:
        replay(each)
    except (NonDeterminismError, LookupError) as error:
        return {**shown, "ok": False, "result": str(error)}
    return {**shown, "ok": True, "result": "same"}
