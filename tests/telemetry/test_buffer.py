"""The buffer: batches, bounds, what is shed, and that nobody waits for the writer."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from apps.core import metrics
from apps.telemetry.buffer import Buffer
from apps.telemetry.errors import StoreDown, StoreRejected
from apps.telemetry.limits import TelemetryLimits

SECONDS = 10


class Writer:
    """Writes to a list, or is down, or holds on, as the test says."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, list[Any]]] = []
        self.is_down = False
        self.poison: object = None
        self.tried = threading.Event()
        self.go = threading.Event()
        self.go.set()

    def __call__(self, table, rows):
        self.tried.set()
        assert self.go.wait(SECONDS)
        if self.is_down:
            raise StoreDown("away")
        if self.poison in rows:
            raise StoreRejected("cannot be written")
        self.batches.append((table, list(rows)))

    @property
    def rows(self) -> list[Any]:
        return [row for _, rows in self.batches for row in rows]


@pytest.fixture
def writer():
    return Writer()


@pytest.fixture
def make(writer):
    made = []

    def build(**limits):
        limits = {"flush_milliseconds": 10_000} | limits
        made.append(buffer := Buffer(write=writer, limits=TelemetryLimits(**limits)))
        return buffer

    yield build
    writer.is_down = False
    writer.go.set()
    for buffer in made:
        buffer.close()


def shed(kind="logs", reason="full") -> float:
    return float(metrics.telemetry_shed.labels(kind=kind, reason=reason)._value.get())


def test_rows_wait_to_be_written_together(make, writer):
    buffer = make()
    for number in range(5):
        buffer.add("logs", [number], 10)
    assert buffer.buffered_rows == 5
    assert buffer.flush(SECONDS)
    assert writer.batches == [("logs", [0, 1, 2, 3, 4])]
    assert (buffer.buffered_rows, buffer.buffered_bytes) == (0, 0)


def test_a_full_batch_is_written_at_once(make, writer):
    buffer = make(batch_rows=3)
    buffer.add("logs", [1, 2], 10)
    assert not writer.tried.is_set()
    buffer.add("logs", [3], 10)
    assert writer.tried.wait(SECONDS)


def test_a_batch_that_does_not_fill_is_written_after_a_while(make, writer):
    make(flush_milliseconds=1).add("logs", [1], 10)
    assert writer.tried.wait(SECONDS)


def test_each_table_gets_its_own_rows(make, writer):
    buffer = make()
    buffer.add("logs", [1], 10)
    buffer.add("spans", [2], 10)
    buffer.add("logs", [3], 10)
    assert buffer.flush(SECONDS)
    assert writer.batches == [("logs", [1, 3]), ("spans", [2])]


def test_nobody_waits_for_a_writer_that_hangs(make, writer):
    buffer = make(batch_rows=1)
    writer.go.clear()
    buffer.add("logs", [1], 10)
    assert writer.tried.wait(SECONDS)
    buffer.add("logs", [2], 10)
    assert buffer.buffered_rows == 2
    writer.go.set()
    assert buffer.flush(SECONDS)
    assert writer.rows == [1, 2]


def test_what_hangs_still_counts_against_the_bound(make, writer):
    before = shed()
    buffer = make(batch_rows=1, buffer_rows=3)
    writer.go.clear()
    buffer.add("logs", [1], 10)
    assert writer.tried.wait(SECONDS)
    for number in range(2, 7):
        buffer.add("logs", [number], 10)
    assert buffer.buffered_rows == 3
    writer.go.set()
    assert buffer.flush(SECONDS)
    assert writer.rows == [1, 5, 6]
    assert shed() - before == 3


def test_the_oldest_rows_are_shed_and_counted(make, writer):
    before = shed()
    writer.is_down = True
    buffer = make(batch_rows=1, buffer_rows=4)
    for number in range(10):
        buffer.add("logs", [number], 10)
        assert buffer.buffered_rows <= 4
    assert writer.tried.wait(SECONDS)
    writer.is_down = False
    assert buffer.flush(SECONDS)
    # One more old row may be in the writer's hands while the others are shed.
    assert len(writer.rows) == 4
    assert writer.rows[-3:] == [7, 8, 9]
    assert shed() - before == 6


def test_bytes_are_bounded_too(make, writer):
    buffer = make(buffer_bytes=100)
    for number in range(10):
        buffer.add("logs", [number], 30)
    assert buffer.buffered_bytes <= 100
    assert buffer.flush(SECONDS)
    assert writer.rows == [7, 8, 9]


def test_one_export_larger_than_the_buffer_leaves_its_end(make, writer):
    buffer = make(buffer_rows=1_500)
    buffer.add("logs", list(range(5_000)), 100)
    assert buffer.buffered_rows <= 1_500
    assert buffer.flush(SECONDS)
    assert writer.rows == list(range(4_000, 5_000))


def test_rows_that_failed_are_written_in_their_old_order(make, writer):
    writer.is_down = True
    buffer = make(batch_rows=1)
    buffer.add("logs", [1], 10)
    assert writer.tried.wait(SECONDS)
    buffer.add("logs", [2], 10)
    writer.is_down = False
    assert buffer.flush(SECONDS)
    assert writer.rows == [1, 2]


def test_a_row_that_can_never_be_written_is_shed_alone(make, writer):
    before = shed(reason="rejected")
    writer.poison = 13
    buffer = make()
    buffer.add("logs", list(range(20)), 100)
    assert buffer.flush(SECONDS)
    assert sorted(writer.rows) == [number for number in range(20) if number != 13]
    assert shed(reason="rejected") - before == 1


def test_closing_writes_what_is_left(make, writer):
    buffer = make()
    buffer.add("logs", [1, 2, 3], 10)
    buffer.close()
    assert writer.rows == [1, 2, 3]


def test_closing_does_not_wait_for_ever(make, writer):
    writer.is_down = True
    buffer = make()
    buffer.add("logs", [1], 10)
    buffer.close(timeout=0.01)
    assert buffer.buffered_rows == 1


def test_many_threads_may_add_at_once(make, writer):
    buffer = make(batch_rows=50)
    barrier = threading.Barrier(8)

    def add(start):
        barrier.wait(SECONDS)
        for number in range(start, start + 100):
            buffer.add("logs", [number], 1)

    threads = [threading.Thread(target=add, args=(n * 100,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert buffer.flush(SECONDS)
    assert sorted(writer.rows) == list(range(800))
