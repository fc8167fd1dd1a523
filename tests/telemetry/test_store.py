"""ClickHouse for real: its schema, what it refuses, and that it may die at any time."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command

from apps.core import sql
from apps.core.ids import created_at, new_id, public_id
from apps.telemetry.buffer import Buffer
from apps.telemetry.errors import StoreDown, StoreRejected
from apps.telemetry.limits import TelemetryLimits
from apps.telemetry.otlp import as_protobuf
from apps.telemetry.rows import Intake, LogRow, log_row
from apps.telemetry.store import Store, store
from tests.telemetry import exports

SECONDS = 60
ENVIRONMENT = new_id()


def lines(
    run: UUID, count: int, *, start: int = 0, environment: UUID = ENVIRONMENT
) -> list[LogRow]:
    """Rows of log lines, one nanosecond apart."""
    records = [exports.log(f"line {n}", time=exports.NOON + n) for n in range(start, start + count)]
    export = exports.logs(*records, holdfast__run_id=public_id("run", run))
    context = Intake(
        environment_id=environment,
        received_at=datetime.now(UTC),
        digest=new_id().bytes[-8:],
        limits=TelemetryLimits(),
    )
    raw = as_protobuf.logs(export.SerializeToString())
    return [log_row(record, index, context) for index, record in enumerate(raw)]


def read(
    where: Store, run: UUID, *, environment: UUID = ENVIRONMENT, rows: int = 200_000
) -> list[str]:
    found = where.rows(
        sql.load("telemetry", "run_logs"),
        {
            "environment_id": str(environment),
            "run_id": str(run),
            "since": created_at(run),
            "after_time": 0,
            "after_sequence": 0,
            "levels": [],
            "search": "",
            "rows": rows,
        },
    )
    return [row["message"] for row in found]


def read_once(where: Store, run: UUID) -> list[str]:
    """As `read`, with lines once that were written again since an answer was lost."""
    return list(dict.fromkeys(read(where, run)))


@pytest.fixture
def fresh(mortal):
    """A store of an empty ClickHouse that a test may kill."""
    made = Store(mortal.url)
    yield made
    made.close()


def test_what_is_written_is_read_back_in_order(clickhouse):
    run = new_id()
    clickhouse.insert("logs", list(reversed(lines(run, 50))))
    assert read(clickhouse, run) == [f"line {n}" for n in range(50)]


def test_rows_of_another_environment_are_not_found(clickhouse):
    run = new_id()
    clickhouse.insert("logs", lines(run, 1))
    assert read(clickhouse, run, environment=new_id()) == []


def test_a_repeated_insert_is_one_row_once_parts_are_merged(clickhouse):
    run = new_id()
    rows = lines(run, 10)
    clickhouse.insert("logs", rows)
    clickhouse.insert("logs", rows)
    clickhouse.command("OPTIMIZE TABLE logs FINAL")
    assert len(read(clickhouse, run)) == 10


def test_rows_of_any_times_are_one_insert(clickhouse):
    run = new_id()
    day = 86_400_000_000_000
    rows = [row._replace(time=row.time - n * 100 * day) for n, row in enumerate(lines(run, 300))]
    clickhouse.insert("logs", [row for row in rows if row.time > 0])
    assert len(read(clickhouse, run)) == sum(row.time > 0 for row in rows)


@pytest.mark.parametrize(
    "text", ["\0", "\U0001f600", "a\tb\nc\\", "'; DROP TABLE logs; --", "{x:String}", "%(x)s", ""]
)
def test_any_text_survives(clickhouse, text):
    run = new_id()
    (row,) = lines(run, 1)
    clickhouse.insert("logs", [row._replace(message=text, attributes={text: '"1"'})])
    assert read(clickhouse, run) == [text]


@pytest.mark.parametrize(
    "spoilt",
    [{"attempt": 2**16}, {"time": "noon"}, {"message": "\ud800"}, {"run_id": "no uuid"}],
)
def test_a_row_that_cannot_be_written_is_told_from_a_server_that_is_away(clickhouse, spoilt):
    (row,) = lines(new_id(), 1)
    with pytest.raises(StoreRejected):
        clickhouse.insert("logs", [row._replace(**spoilt)])


def test_a_server_that_is_not_there_is_down():
    nowhere = Store("http://127.0.0.1:9/default")
    with pytest.raises(StoreDown):
        nowhere.insert("logs", lines(new_id(), 1))
    with pytest.raises(StoreDown):
        nowhere.rows("SELECT 1", {})
    with pytest.raises(StoreDown):
        nowhere.ping()


def test_many_stores_may_migrate_an_empty_server_at_once(mortal):
    stores = [Store(mortal.url) for _ in range(6)]
    barrier = threading.Barrier(len(stores))
    problems = []

    def migrate(one):
        barrier.wait(SECONDS)
        try:
            one.migrate()
        except StoreDown as error:
            problems.append(error)

    threads = [threading.Thread(target=migrate, args=(one,)) for one in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert problems == []
    assert stores[0].migrate() == []
    stores[0].insert("logs", lines(run := new_id(), 3))
    assert len(read(stores[1], run)) == 3


def test_the_command_migrates_and_then_has_nothing_to_do(clickhouse, capsys):
    clickhouse.migrate()
    call_command("migrate_telemetry")
    assert "up to date" in capsys.readouterr().out


def test_the_command_says_when_clickhouse_is_away(settings, monkeypatch):
    settings.CLICKHOUSE_URL = "http://127.0.0.1:9/default"
    store.cache_clear()
    try:
        with pytest.raises(CommandError, match="ClickHouse does not answer"):
            call_command("migrate_telemetry")
    finally:
        store.cache_clear()


def test_another_retention_changes_the_tables(fresh, settings):
    fresh.migrate()
    settings.TELEMETRY = TelemetryLimits(retention_days=3)
    fresh.migrate()
    for table in ("spans", "logs"):
        assert "toIntervalDay(3)" in fresh.command(f"SHOW CREATE TABLE {table}")


def test_an_emptied_server_gets_its_tables_again(fresh):
    fresh.migrate()
    fresh.command("DROP TABLE logs")
    fresh.command("TRUNCATE TABLE telemetry_migrations")
    buffer = Buffer(write=fresh.insert, limits=TelemetryLimits(flush_milliseconds=1))
    buffer.add("logs", lines(run := new_id(), 5), 100)
    assert buffer.flush(SECONDS)
    assert len(read(fresh, run)) == 5
    buffer.close()


def test_rows_taken_while_clickhouse_is_dead_arrive_when_it_lives_again(mortal, fresh):
    run = new_id()
    buffer = Buffer(write=fresh.insert, limits=TelemetryLimits(flush_milliseconds=1))
    buffer.add("logs", lines(run, 100), 10_000)
    assert buffer.flush(SECONDS)
    mortal.kill()
    for start in range(100, 2_100, 100):
        buffer.add("logs", lines(run, 100, start=start), 10_000)
    assert not buffer.flush(0.1)
    assert buffer.buffered_rows == 2_000
    mortal.start()
    assert buffer.flush(SECONDS)
    assert read_once(fresh, run) == [f"line {n}" for n in range(2_100)]
    buffer.close()


def test_while_clickhouse_is_dead_the_bound_holds_and_the_newest_rows_are_kept(mortal, fresh):
    run = new_id()
    limits = TelemetryLimits(flush_milliseconds=1, buffer_rows=500)
    buffer = Buffer(write=fresh.insert, limits=limits)
    mortal.kill()
    for start in range(0, 3_000, 100):
        buffer.add("logs", lines(run, 100, start=start), 10_000)
        assert buffer.buffered_rows <= 500 + 100
    assert buffer.buffered_rows <= 500
    mortal.start()
    assert buffer.flush(SECONDS)
    found = read_once(fresh, run)
    assert len(found) <= 600
    assert found[-300:] == [f"line {n}" for n in range(2_700, 3_000)]
    buffer.close()


def test_clickhouse_killed_in_the_middle_of_a_stream_loses_nothing_that_fits(mortal, fresh):
    run = new_id()
    buffer = Buffer(write=fresh.insert, limits=TelemetryLimits(flush_milliseconds=1))
    for start in range(0, 10_000, 500):
        buffer.add("logs", lines(run, 500, start=start), 50_000)
        if start == 5_000:
            mortal.kill()
        if start == 8_000:
            mortal.start()
    assert buffer.flush(SECONDS)
    # What had been acknowledged before the kill is on disk, for inserts are not asynchronous.
    assert read_once(fresh, run) == [f"line {n}" for n in range(10_000)]
    buffer.close()


def test_a_burst_of_a_hundred_thousand_rows_is_written_whole(clickhouse):
    run = new_id()
    buffer = Buffer(write=clickhouse.insert, limits=TelemetryLimits())
    template: LogRow = lines(run, 1)[0]
    rows = [
        template._replace(
            time=exports.NOON + n, sequence=n, message=f"line {n}", attributes={"n": str(n)}
        )
        for n in range(100_000)
    ]
    for start in range(0, len(rows), 1_000):
        buffer.add("logs", rows[start : start + 1_000], 150_000)
    assert buffer.flush(SECONDS)
    assert read(clickhouse, run) == [f"line {n}" for n in range(100_000)]
    buffer.close()
