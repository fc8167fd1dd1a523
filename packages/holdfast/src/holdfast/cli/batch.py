"""Batches from the terminal."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, cast

import click

from holdfast.cli.exits import CliError, Exit
from holdfast.cli.session import Session, pass_session
from holdfast.cli.tree import Group
from holdfast.client.triggers import (
    OPTIONS_BY_WIRE_NAME,
    BatchItem,
    TriggerOptions,
    check_options,
)

_OPTIONS = frozenset(TriggerOptions.__annotations__) - {"parent_run_id", "resume_parent"}


class Lines(Collection[BatchItem]):
    """The items of a file with one JSON object a line, read anew whenever they are asked for."""

    def __init__(self, path: Path, task: str | None) -> None:
        self._path = path
        self._task = task

    def __len__(self) -> int:
        return sum(1 for _ in self._lines())

    def __iter__(self) -> Iterator[BatchItem]:
        for number, line in self._lines():
            try:
                yield self._item(json.loads(line))
            except (ValueError, TypeError) as error:
                raise CliError(f"Line {number}: {error}", Exit.USAGE) from None

    def __contains__(self, item: object) -> bool:
        return any(item == known for known in self)

    def _lines(self) -> Iterator[tuple[int, str]]:
        with self._path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, line

    def _item(self, line: Any) -> BatchItem:
        if self._task is not None:
            return BatchItem(task=self._task, payload=line)
        if not isinstance(line, dict) or not isinstance(line.get("task"), str):
            raise TypeError('it needs a "task", or say --task and give only payloads')
        options = _options(line.get("options") or {})
        return BatchItem(task=line["task"], payload=line.get("payload"), options=options)


def _options(given: Any) -> TriggerOptions:
    """Options under the names of the SDK or of the API."""
    if not isinstance(given, dict):
        raise TypeError(f'"options" is an object, not {given!r}')
    named = {OPTIONS_BY_WIRE_NAME.get(key, key.replace("-", "_")): given[key] for key in given}
    if unknown := named.keys() - _OPTIONS:
        raise ValueError(f"there is no option {', '.join(sorted(unknown))}")
    options = cast(TriggerOptions, named)
    check_options(options)
    return options


@click.group(cls=Group)
def batch() -> None:
    """Batches: trigger many runs at once, and see what became of them."""


@batch.command()
@click.argument("file", metavar="FILE")
@click.option("--task", metavar="TASK", help="The task of all; each line is only a payload.")
@click.option("--idempotency-key", metavar="KEY", help="The same key twice is one batch.")
@pass_session
def trigger(session: Session, file: str, task: str | None, idempotency_key: str | None) -> None:
    """Start a run for every line of FILE, up to 10,000; - is stdin.

    Options have the names of the SDK, such as concurrency_key, or of the API, concurrencyKey.

    \b
    {"task": "resize", "payload": {"image": 1}, "options": {"tags": ["a"]}}
    holdfast batch trigger images.ndjson
    holdfast batch trigger payloads.ndjson --task resize
    """
    with tempfile.TemporaryDirectory() as folder:
        items = Lines(_path(file, Path(folder)), task)
        if not sum(1 for _ in items):  # reads each line, so that nothing is sent of a wrong file
            raise CliError(f"{file} has no lines.", Exit.USAGE)
        options: TriggerOptions = {"idempotency_key": idempotency_key} if idempotency_key else {}
        handle = session.client().batch_trigger(items, **options)
    session.output.show(
        handle,
        [
            ("batch", lambda h: h.id),
            ("runs", lambda h: h.run_count),
            ("note", lambda h: "the idempotency key is known: an older batch" * h.is_cached),
        ],
    )


def _path(file: str, folder: Path) -> Path:
    if file != "-":
        path = Path(file)
        if not path.is_file():
            raise CliError(f"{file} is not a file.", Exit.USAGE)
        return path
    copy = folder / "items"  # read more than once: to count, and to send
    with copy.open("w", encoding="utf-8") as kept:
        kept.writelines(sys.stdin)
    return copy


@batch.command()
@click.argument("batch_id", metavar="BATCH")
@pass_session
def show(session: Session, batch_id: str) -> None:
    """Show BATCH and the items that could not be started."""
    found = session.client().batches.retrieve(batch_id)
    session.output.show(
        found,
        [
            ("batch", lambda b: b.id),
            ("status", lambda b: b.status),
            ("items", lambda b: b.run_count),
            ("runs", lambda b: len(b.runs)),
            ("created", lambda b: b.created_at),
            ("completed", lambda b: b.processing.completed_at),
        ],
    )
    for problem in found.processing.errors:
        session.output.note(f"item {problem.index} ({problem.task}): {problem.error}")


@batch.command()
@click.argument("batch_id", metavar="BATCH")
@pass_session
def results(session: Session, batch_id: str) -> None:
    """List how the items of BATCH ended, in their order."""
    session.output.show(
        session.client().batches.results(batch_id),
        [
            ("RUN", lambda result: result.id),
            ("OK", lambda result: result.ok),
            ("RESULT", lambda r: r.output if r.ok else (r.error or {}).get("message", "")),
        ],
    )
