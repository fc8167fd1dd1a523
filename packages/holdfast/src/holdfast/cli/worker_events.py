"""What a worker tells people, one line for each run that ends."""

from __future__ import annotations

from datetime import datetime

from rich.text import Text

from holdfast.cli.exits import CliError, Exit
from holdfast.cli.output import Output, duration
from holdfast.worker import ConnectionRefused, ProjectFailed, WorkerEvent


class WorkerLines:
    """Prints the events of one or several workers; in JSON all of them, one object per line."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def take(self, event: WorkerEvent) -> None:
        """Print an event, if people should see it."""
        if self._output.is_json:
            self._output.line("", _record(event))
        elif event.kind in ("completed", "failed"):
            self._output.line(_ended(event))
        elif event.kind == "disconnected" or _is_draining_runs(event):
            self._output.note(Text.assemble(_clock(), (f"{event.kind}: {event.detail}", "yellow")))


def refusal(error: ConnectionRefused | ProjectFailed, output: Output) -> CliError:
    """Why a worker could not work, as the end of the command."""
    if isinstance(error, ConnectionRefused):
        is_key = error.code == "unauthorized"
        return CliError(str(error), Exit.AUTHENTICATION if is_key else Exit.REFUSED)
    output.block(str(error))
    return CliError("The tasks cannot be imported: see the traceback above.", Exit.FAILED)


def _is_draining_runs(event: WorkerEvent) -> bool:
    return event.kind == "draining" and not event.detail.startswith("0 ")


def _ended(event: WorkerEvent) -> Text:
    is_good = event.kind == "completed"
    attempt = f"attempt {event.attempt}, " if event.attempt > 1 or event.will_retry else ""
    again = ", tried again" if event.will_retry else ""
    return Text.assemble(
        _clock(),
        ("✓ " if is_good else "✗ ", "green" if is_good else "red"),
        (event.task, "bold"),
        f"  {event.run}  ",
        (f"{attempt}{duration(event.seconds)}{again}", "dim"),
        ("" if is_good else f"  {' '.join(event.detail.split())}", "red"),
    )


def _clock() -> tuple[str, str]:
    return (datetime.now().astimezone().strftime("%H:%M:%S  "), "dim")


def _record(event: WorkerEvent) -> dict[str, object]:
    fields = {
        "run": event.run,
        "task": event.task,
        "attempt": event.attempt or "",
        "detail": event.detail,
    }
    ended = {"seconds": event.seconds, "willRetry": event.will_retry}
    shown = fields | (ended if event.kind in ("completed", "failed") else {})
    return {"event": event.kind} | {name: value for name, value in shown.items() if value != ""}
