"""Rows on their way to ClickHouse: bounded, written in batches, the oldest shed when it is away.

`add` never waits for ClickHouse. One thread writes; what it is writing still counts against the
bounds, so that memory stays bounded however long an insert hangs.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from apps.core import metrics
from apps.telemetry.errors import StoreDown, StoreRejected
from apps.telemetry.limits import TelemetryLimits
from apps.telemetry.rows import Row

log = logging.getLogger(__name__)

Write = Callable[[str, Sequence[Row]], None]

_CHUNK_ROWS = 1_000
_BATCHES = 4  # that the bounds hold at least
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 5.0
_CLOSE_SECONDS = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Rows that arrived together: what is written, or shed, in one piece."""

    table: str
    rows: Sequence[Row]
    size: int


class Buffer:
    """A bounded queue of chunks with the thread that drains it."""

    def __init__(self, *, write: Write, limits: TelemetryLimits) -> None:
        self._write = write
        self._limits = limits
        self._chunks: deque[Chunk] = deque()
        self._writing: list[Chunk] = []
        self._rows = 0
        self._bytes = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_closing = False
        self._is_hurried = False

    def add(self, table: str, rows: Sequence[Row], size: int) -> None:
        """Take rows whose export was `size` bytes; sheds the oldest when a bound is reached."""
        if not rows:
            return
        chunks = [
            Chunk(table, part, size * len(part) // len(rows))
            for start in range(0, len(rows), _CHUNK_ROWS)
            if (part := rows[start : start + _CHUNK_ROWS])
        ]
        with self._changed:
            for chunk in chunks:
                self._chunks.append(chunk)
                self._count(chunk, 1)
            self._shed_oldest()
            self._start()
            self._changed.notify_all()

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until nothing is buffered, writing without further delay; False when time is up."""
        with self._changed:
            self._is_hurried = True
            self._changed.notify_all()
            try:
                return self._changed.wait_for(lambda: not self._rows, timeout)
            finally:
                self._is_hurried = False

    def close(self, timeout: float = _CLOSE_SECONDS) -> None:
        """Write what is buffered if that is possible in time, and end the thread."""
        if self._is_closing:
            return
        self.flush(timeout)
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
            lost = self._rows
        if lost:
            log.warning("telemetry rows are lost at shutdown", extra={"rows": lost})

    @property
    def buffered_rows(self) -> int:
        return self._rows

    @property
    def buffered_bytes(self) -> int:
        return self._bytes

    def _start(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._drain, name="telemetry", daemon=True)
            self._thread.start()

    def _drain(self) -> None:
        pause = 0.0
        while self._await_batch(pause):
            if self._write_batch():
                pause = 0.0
            else:
                pause = min(max(pause * 2, _FIRST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS)

    def _await_batch(self, pause: float) -> bool:
        """Sleep until a batch is due and set it aside; False when the buffer is closed."""
        with self._changed:
            if pause:
                self._changed.wait_for(lambda: self._is_closing, pause)
            self._changed.wait_for(lambda: self._chunks or self._is_closing)
            if self._is_closing:
                return False
            self._changed.wait_for(self._is_due, self._limits.flush_milliseconds / 1000)
            self._take_batch()
            return not self._is_closing

    def _take_batch(self) -> None:
        # A part of the bounds at most: what is being written cannot be shed, and while it hangs
        # there must be room for what is newer.
        rows = max(1, min(self._limits.batch_rows, self._limits.buffer_rows // _BATCHES))
        size = max(1, self._limits.buffer_bytes // _BATCHES)
        while self._chunks and rows > 0 and size > 0:
            chunk = self._chunks.popleft()
            self._writing.append(chunk)
            rows -= len(chunk.rows)
            size -= chunk.size

    def _is_due(self) -> bool:
        return self._is_closing or self._is_hurried or self._rows >= self._limits.batch_rows

    def _write_batch(self) -> bool:
        left: list[Chunk] = []
        for table in {chunk.table: None for chunk in self._writing}:
            chunks = [chunk for chunk in self._writing if chunk.table == table]
            if not self._deliver(table, [row for chunk in chunks for row in chunk.rows]):
                left += chunks
        with self._changed:
            for chunk in self._writing:
                if chunk not in left:
                    self._count(chunk, -1)
            self._chunks.extendleft(reversed(left))
            self._writing = []
            self._shed_oldest()
            self._changed.notify_all()
        return not left

    def _deliver(self, table: str, rows: Sequence[Row]) -> bool:
        """Write rows, halving them around what can never be written; False to try again."""
        started = time.monotonic()
        try:
            self._write(table, rows)
        except StoreDown as error:
            metrics.telemetry_write_failures.inc()
            log.warning("telemetry waits for ClickHouse", extra={"reason": str(error)})
            return False
        except StoreRejected as error:
            if len(rows) > 1:
                middle = len(rows) // 2
                return self._deliver(table, rows[:middle]) and self._deliver(table, rows[middle:])
            metrics.telemetry_shed.labels(kind=table, reason="rejected").inc()
            log.warning("a telemetry row cannot be written", extra={"reason": str(error)})
            return True
        metrics.telemetry_written.labels(kind=table).inc(len(rows))
        log.debug("telemetry written", extra={"seconds": time.monotonic() - started})
        return True

    def _shed_oldest(self) -> None:
        bounds = self._limits
        while self._chunks and (
            self._rows > bounds.buffer_rows or self._bytes > bounds.buffer_bytes
        ):
            chunk = self._chunks.popleft()
            self._count(chunk, -1)
            metrics.telemetry_shed.labels(kind=chunk.table, reason="full").inc(len(chunk.rows))

    def _count(self, chunk: Chunk, sign: int) -> None:
        self._rows += sign * len(chunk.rows)
        self._bytes += sign * chunk.size
        metrics.telemetry_buffered_rows.set(self._rows)
        metrics.telemetry_buffered_bytes.set(self._bytes)
