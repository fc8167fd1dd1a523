"""What a run says: `logger`, and the capture of `logging`, stdout and stderr while it executes.

Records become telemetry of the run that they were written in. Nothing here blocks or fails.
"""

from __future__ import annotations

import io
import logging
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TextIO

from holdfast.context import current_run

_MAX_MESSAGE = 32_768
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

_span: ContextVar[str | None] = ContextVar("holdfast.span", default=None)


class Logger:
    """Structured logging: a message, and attributes that can be searched for.

    Outside of a run the records go to the ``holdfast.task`` logger of `logging`.
    """

    def debug(self, message: str, **attributes: Any) -> None:
        """Log for those who look for a fault."""
        self._emit("DEBUG", message, attributes)

    def info(self, message: str, **attributes: Any) -> None:
        """Log what happens."""
        self._emit("INFO", message, attributes)

    def warning(self, message: str, **attributes: Any) -> None:
        """Log what should be looked at."""
        self._emit("WARN", message, attributes)

    def error(self, message: str, **attributes: Any) -> None:
        """Log what went wrong."""
        self._emit("ERROR", message, attributes)

    @contextmanager
    def span(self, name: str, **attributes: Any) -> Iterator[dict[str, Any]]:
        """Measure a block: it appears as a span in the run's trace.

        Args:
            name: What the block does.
            **attributes: What can be searched for.

        Yields:
            The attributes, to which the block may add.
        """
        span_id, parent = secrets.token_hex(8), _span.get()
        token = _span.set(span_id)
        started, is_error = time.time_ns(), False
        try:
            yield attributes
        except BaseException:
            is_error = True
            raise
        finally:
            _span.reset(token)
            _emit(
                {
                    "kind": "span",
                    "name": name,
                    "id": span_id,
                    "parent": parent,
                    "start": started,
                    "end": time.time_ns(),
                    "error": is_error,
                    "attributes": plain_attributes(attributes),
                }
            )

    def _emit(self, level: str, message: str, attributes: dict[str, Any]) -> None:
        if not emit_log(level, message, attributes):
            number = logging.getLevelName("WARNING" if level == "WARN" else level)
            logging.getLogger("holdfast.task").log(number, "%s %s", message, attributes or "")


logger = Logger()


def emit_log(level: str, message: str, attributes: dict[str, Any]) -> bool:
    """Hand a line to the current run; False when there is none."""
    return _emit(
        {
            "kind": "log",
            "at": time.time_ns(),
            "level": level,
            "message": message[:_MAX_MESSAGE],
            "span": _span.get(),
            "attributes": plain_attributes(attributes),
        }
    )


def plain_attributes(attributes: dict[str, Any]) -> dict[str, Any]:
    """Attributes as JSON scalars: anything richer becomes text."""
    scalar = (str, int, float, bool)
    return {
        str(name): value if isinstance(value, scalar) else _text(value)
        for name, value in attributes.items()
        if value is not None
    }


def _text(value: Any) -> str:
    try:
        return str(value)[:_MAX_MESSAGE]
    except Exception:
        return f"<{type(value).__name__}>"


def _emit(record: dict[str, Any]) -> bool:
    state = current_run.get(None)
    if state is None:
        return False
    state.runtime.emit(record)
    return True


class CaptureHandler(logging.Handler):
    """Sends the records of `logging` to the run in which they were made."""

    _LEVELS = ((logging.ERROR, "ERROR"), (logging.WARNING, "WARN"), (logging.INFO, "INFO"))

    def emit(self, record: logging.LogRecord) -> None:
        """Take one record."""
        try:
            level = next((name for least, name in self._LEVELS if record.levelno >= least), "DEBUG")
            extra = {k: v for k, v in vars(record).items() if k not in _STANDARD}
            message = record.getMessage()
            if record.exc_info:
                message += "\n" + logging.Formatter().formatException(record.exc_info)
            emit_log(level, message, {"logger": record.name, **extra})
        except Exception:
            self.handleError(record)


class CaptureStream(io.TextIOBase):
    """Sends whole lines to the run that writes them, and passes everything on."""

    def __init__(self, below: TextIO, *, level: str, passes_on: bool) -> None:
        self._below = below
        self._level = level
        self._passes_on = passes_on
        self._rest = ""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the stream below."""
        return self._below.encoding

    def writable(self) -> bool:
        """Always."""
        return True

    def fileno(self) -> int:
        """The descriptor of the stream below, for child processes."""
        return self._below.fileno()

    def isatty(self) -> bool:
        """Never: the reader is a telemetry store."""
        return False

    def write(self, text: str) -> int:
        """Take text; a line goes out when it is complete."""
        if current_run.get(None) is None or self._passes_on:
            self._below.write(text)
        if current_run.get(None) is not None:
            *lines, self._rest = (self._rest + text).split("\n")
            if len(self._rest) > _MAX_MESSAGE:
                lines, self._rest = [*lines, self._rest], ""
            for line in lines:
                self._line(line)
        return len(text)

    def flush(self) -> None:
        """Flush the stream below."""
        self._below.flush()

    def finish_line(self) -> None:
        """Send an unfinished line; called at the end of an attempt."""
        rest, self._rest = self._rest, ""
        if rest:
            self._line(rest)

    def _line(self, line: str) -> None:
        if line.strip():
            emit_log(self._level, line, {})


def capture_output(*, passes_on: bool) -> None:
    """Capture `logging`, stdout and stderr of this process for good.

    Args:
        passes_on: Whether what a run prints also appears on the process's own streams.
    """
    sys.stdout = CaptureStream(sys.stdout, level="INFO", passes_on=passes_on)
    sys.stderr = CaptureStream(sys.stderr, level="ERROR", passes_on=passes_on)
    root = logging.getLogger()
    root.addHandler(CaptureHandler())
    if root.level in (logging.NOTSET, logging.WARNING):
        root.setLevel(logging.INFO)


def finish_lines() -> None:
    """Send the unfinished lines of the captured streams."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, CaptureStream):
            stream.finish_line()
