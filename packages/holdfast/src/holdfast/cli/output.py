"""What the command prints: results on stdout as a table or JSON, everything else on stderr."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from holdfast.client.results import dump

_TONES = {
    "COMPLETED": "green",
    "DEPLOYED": "green",
    "EXECUTING": "cyan",
    "DEQUEUED": "cyan",
    "BUILDING": "cyan",
    "DEPLOYING": "cyan",
    "WAITING": "blue",
    "FAILED": "red",
    "CRASHED": "red",
    "SYSTEM_FAILURE": "red",
    "TIMED_OUT": "red",
    "CANCELED": "yellow",
    "EXPIRED": "yellow",
    "DEBUG": "dim",
    "WARN": "yellow",
    "ERROR": "red",
    "FATAL": "red",
}
# Piped output is never cut or wrapped to the width of a terminal that is not there.
_UNBOUNDED = 100_000

_FORMULA = ("=", "+", "-", "@", "\t", "\r")

Column = tuple[str, Callable[[Any], Any]]


class Output:
    """Where results and notes go; `is_json` is the whole command's choice."""

    def __init__(self, *, is_json: bool) -> None:
        self.is_json = is_json
        self._out = _console(sys.stdout)
        self._err = _console(sys.stderr)

    @property
    def is_interactive(self) -> bool:
        """Whether a person is looking and can answer."""
        return sys.stdin.isatty() and self._err.is_terminal and not self.is_json

    def show(self, value: Any, columns: Sequence[Column]) -> None:
        """Print a result: JSON, a table of a list's items, or one line per column of an object."""
        if self.is_json:
            sys.stdout.write(json.dumps(dump(value), ensure_ascii=False, indent=2) + "\n")
        elif isinstance(value, list):
            self._print_rows(value, columns)
        else:
            self._print_fields(value, columns)

    def csv(self, rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
        """Print rows for a spreadsheet; a text that it would take for a formula is quoted."""
        writer = csv.DictWriter(sys.stdout, list(names), lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _plain(row.get(name)) for name in names} for row in rows)

    def line(self, text: str | Text, record: Any = None) -> None:
        """Print one line of a stream; in JSON its `record`, as one line too."""
        if self.is_json:
            sys.stdout.write(json.dumps(dump(record), ensure_ascii=False) + "\n")
            sys.stdout.flush()
        else:
            self._out.print(text, soft_wrap=True, highlight=False, markup=False)

    def record(self, record: Any) -> None:
        """Print one line of a stream that only scripts should see."""
        if self.is_json:
            self.line("", record)

    def note(self, text: str | Text) -> None:
        """Tell a person what is going on; scripts that read JSON are left alone."""
        if not self.is_json:
            self._err.print(text, soft_wrap=True, highlight=False, markup=False)

    def error(self, message: str, *, code: int) -> None:
        """Say on one line of stderr why the command ends."""
        text = " ".join(message.split())
        if self.is_json:
            sys.stderr.write(json.dumps({"error": text, "exitCode": code}) + "\n")
        else:
            self._err.print(
                Text.assemble(("error: ", "red"), text), soft_wrap=True, highlight=False
            )

    def block(self, text: str) -> None:
        """Show a traceback or a log as it is, on stderr."""
        if not self.is_json:
            self._err.print(Text(text.rstrip("\n")), soft_wrap=True, highlight=False)

    @contextmanager
    def busy(self, text: str) -> Iterator[Callable[[str], None]]:
        """Show that something takes time; gives a function that changes the text."""
        if self.is_json or not self._err.is_terminal:
            yield lambda _text: None
            return
        with self._err.status(text) as status:
            yield lambda changed: status.update(changed)

    def _print_rows(self, items: list[Any], columns: Sequence[Column]) -> None:
        if not items:
            self.note("Nothing found.")
            return
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for name, _ in columns:
            table.add_column(name, no_wrap=not self._out.is_terminal, overflow="fold")
        for item in items:
            table.add_row(*[_cell(read(item)) for _, read in columns])
        with self._out.capture() as captured:
            self._out.print(table)
        sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))

    def _print_fields(self, item: Any, columns: Sequence[Column]) -> None:
        shown = [(name, read(item)) for name, read in columns]
        shown = [(name, value) for name, value in shown if value not in (None, "", [], {})]
        width = max((len(name) for name, _ in shown), default=0) + 2
        for name, value in shown:
            self._out.print(
                Text.assemble((name.ljust(width), "dim"), _cell(value)),
                soft_wrap=True,
                highlight=False,
            )


def _console(stream: Any) -> Console:
    width = None if stream.isatty() else _UNBOUNDED
    return Console(file=stream, width=width, highlight=False, emoji=False, markup=False)


def _cell(value: Any) -> Text:
    if value is None:
        return Text("")
    if isinstance(value, Text):
        return value
    if isinstance(value, datetime):
        return Text(moment(value))
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, dict | list | tuple):
        return Text(json.dumps(dump(value), ensure_ascii=False))
    return Text(str(value), style=_TONES.get(str(value), ""))


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def moment(at: datetime) -> str:
    """A time as people read it, in their own zone."""
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def age(at: datetime | None) -> str:
    """How long ago that was."""
    if at is None:
        return ""
    return f"{duration((datetime.now(UTC) - at).total_seconds())} ago"


def duration(seconds: float) -> str:
    """A length of time in at most two units."""
    seconds = max(0.0, seconds)
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    for size, name, smaller, smaller_name in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "m")):
        if whole >= size:
            return f"{whole // size}{name} {whole % size // smaller}{smaller_name}"
    return f"{whole // 60}m {whole % 60}s"


def tone(word: str) -> str:
    """The style of a status or a level."""
    return _TONES.get(word, "")
