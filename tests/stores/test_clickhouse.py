"""The embedded ClickHouse, seen by the real client: over HTTP, as if it were an external one."""

from __future__ import annotations

import gzip
import signal
import threading
import uuid
from datetime import UTC, datetime

import clickhouse_connect
import httpx
import lz4.frame
import pytest
from backports import zstd
from clickhouse_connect.driver.exceptions import DatabaseError, StreamFailureError
from django.conf import settings

from config.stores.clickhouse.store import ClickHouse
from config.stores.errors import StoreError
from config.stores.home import Home
from config.stores.process import Child
from tests.stores.conftest import fill

MOMENT = datetime(2026, 11, 24, 12, 30, 15, 123456, tzinfo=UTC)


@pytest.fixture
def url():
    """A database of this test alone."""
    name = f"test_{uuid.uuid4().hex}"
    with clickhouse_connect.get_client(dsn=settings.CLICKHOUSE_URL) as client:
        client.command(f"CREATE DATABASE {name}")
        yield str(httpx.URL(settings.CLICKHOUSE_URL).copy_with(path=f"/{name}"))
        client.command(f"DROP DATABASE {name}")


@pytest.fixture
def client(url):
    with clickhouse_connect.get_client(dsn=url) as client:
        client.command(
            "CREATE TABLE sample (number UInt64, text String, at DateTime64(6, 'UTC'),"
            " tags Map(String, String), maybe Nullable(Int32)) ENGINE = MergeTree ORDER BY number"
        )
        yield client


@pytest.fixture
def http():
    url = httpx.URL(settings.CLICKHOUSE_URL)
    auth = (url.username, url.password)
    base = f"http://{url.host}:{url.port}"
    with httpx.Client(
        base_url=base, auth=auth, headers={"Accept-Encoding": ""}, timeout=60
    ) as client:
        yield client


COLUMNS = ["number", "text", "at", "tags", "maybe"]


def rows(count: int) -> list[list[object]]:
    return [[n, f"text {n} ü", MOMENT, {"key": str(n)}, n if n % 2 else None] for n in range(count)]


# -- With the client that the product uses --------------------------------------------------------


def test_columns_come_back_as_they_went_in(client):
    summary = client.insert("sample", rows(3), column_names=COLUMNS)
    assert summary.written_rows == 3
    found = client.query("SELECT * FROM sample ORDER BY number")
    at = MOMENT.replace(tzinfo=None)  # the client leaves out the zone when it is UTC
    assert found.result_rows == [
        (0, "text 0 ü", at, {"key": "0"}, None),
        (1, "text 1 ü", at, {"key": "1"}, 1),
        (2, "text 2 ü", at, {"key": "2"}, None),
    ]
    assert found.column_names == tuple(COLUMNS)


@pytest.mark.parametrize("compression", [True, False, "lz4", "zstd", "gzip"])
def test_every_compression_of_the_client_works_both_ways(client, url, compression):
    with clickhouse_connect.get_client(dsn=url, compress=compression) as other:
        other.insert("sample", rows(30_000), column_names=COLUMNS)
        found = other.query("SELECT number, text FROM sample ORDER BY number")
    assert len(found.result_rows) == 30_000
    assert found.result_rows[-1] == (29_999, "text 29999 ü")


def test_parameters_are_bound_by_the_server(client):
    hostile = "o'clock\t\\ `; DROP TABLE x --"
    found = client.query(
        "SELECT {text:String}, {numbers:Array(UInt8)}, {at:DateTime64(6)}",
        parameters={"text": hostile, "numbers": [1, 2], "at": MOMENT},
    )
    text, numbers, _ = found.result_rows[0]
    assert (text, numbers) == (hostile, [1, 2])


def test_parameters_may_come_as_a_form():
    with clickhouse_connect.get_client(
        dsn=settings.CLICKHOUSE_URL, form_encode_query_params=True
    ) as client:
        found = client.query("SELECT {text:String}", parameters={"text": "a & b = ü"})
    assert found.result_rows == [("a & b = ü",)]


def test_commands_answer_with_values_or_with_nothing(client):
    assert client.command("SELECT 41 + 1") == 42
    assert client.command("SELECT 1 WHERE 0") == ""
    assert client.command("EXISTS sample") == 1
    assert "sample" in str(client.command("SHOW TABLES"))
    assert client.command("INSERT INTO sample (number) VALUES (1), (2)").written_rows == 2


@pytest.mark.parametrize("run", ["query", "command"])
@pytest.mark.parametrize(
    ("statement", "code", "name"),
    [
        ("SELECT (", 62, "SYNTAX_ERROR"),
        ("SELECT * FROM nowhere", 60, "UNKNOWN_TABLE"),
        ("SELECT nothing", 47, "UNKNOWN_IDENTIFIER"),
        ("INSERT INTO nowhere VALUES (1)", 60, "UNKNOWN_TABLE"),
        ("SELECT 1; SELECT 2", 62, "SYNTAX_ERROR"),
        ("SELECT throwIf(1)", 395, "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO"),
    ],
)
def test_errors_have_clickhouses_codes(client, run, statement, code, name):
    with pytest.raises(DatabaseError) as failed:
        getattr(client, run)(statement)
    assert (failed.value.code, failed.value.name) == (code, name)


def test_rows_that_do_not_fit_are_refused_and_leave_nothing(client):
    with pytest.raises(DatabaseError) as failed:
        client.raw_insert("sample", ["number"], b"1\n2\nthree\n", fmt="TSV")
    assert failed.value.code == 27
    assert client.command("SELECT count() FROM sample") == 0


def test_settings_apply_to_one_statement_alone(client):
    query = "SELECT getSetting('max_block_size')"
    default = client.command(query)
    assert client.command(query, settings={"max_block_size": 77}) == 77
    assert client.command(query) == default
    with pytest.raises(DatabaseError) as failed:
        client.command(query, settings={"no_such_setting": 1})
    assert failed.value.code == 115


def test_a_large_result_streams(client):
    count = 0
    with client.query_row_block_stream("SELECT number FROM numbers(2000000)") as blocks:
        for block in blocks:
            count += len(block)
    assert count == 2_000_000


def test_an_error_in_the_middle_of_a_stream_reaches_the_client(client):
    query = "SELECT throwIf(number = 1900000) FROM numbers(2000000)"
    with (
        pytest.raises(StreamFailureError) as failed,
        client.query_row_block_stream(query) as blocks,
    ):
        for _ in blocks:
            pass
    assert failed.value.code == 395


def test_a_client_that_goes_away_stops_its_query(client):
    with client.raw_stream("SELECT number FROM numbers(1000000000)", fmt="Native") as stream:
        stream.read(1000)
        stream.close()
    assert client.command("SELECT 1") == 1


def test_other_formats_are_whole_documents(client):
    body = client.raw_query("SELECT number FROM numbers(100000)", fmt="JSONCompact")
    assert body.count(b'"meta"') == 1
    body = client.raw_query("SELECT number AS n FROM numbers(2)", fmt="JSONEachRow")
    assert body == b'{"n":0}\n{"n":1}\n'


def test_many_clients_write_and_read_side_by_side(client, url):
    failures = []
    barrier = threading.Barrier(6)

    def work() -> None:
        try:
            with clickhouse_connect.get_client(dsn=url) as mine:
                barrier.wait(30)
                for _ in range(10):
                    mine.insert("sample", rows(100), column_names=COLUMNS)
                    mine.query("SELECT text, count() FROM sample GROUP BY text")
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert client.command("SELECT count() FROM sample") == 6_000


def test_a_wrong_password_is_refused():
    url = httpx.URL(settings.CLICKHOUSE_URL).copy_with(password="wrong")
    with pytest.raises(DatabaseError) as failed:
        clickhouse_connect.get_client(dsn=str(url))
    assert failed.value.code == 516


# -- The wire itself -------------------------------------------------------------------------------


def test_it_can_be_pinged_without_a_password(http):
    answer = httpx.get(http.base_url.join("/ping"), timeout=60)
    assert (answer.status_code, answer.text) == (200, "Ok.\n")


def test_a_result_is_described_by_headers(http):
    answer = http.post("/", params={"query_id": "mine"}, content="SELECT 1 FORMAT JSONEachRow")
    assert answer.headers["X-ClickHouse-Query-Id"] == "mine"
    assert answer.headers["X-ClickHouse-Format"] == "JSONEachRow"
    assert answer.headers["X-ClickHouse-Timezone"] == "UTC"
    assert set(answer.json()) == {"1"}
    assert "read_rows" in answer.headers["X-ClickHouse-Summary"]


def test_the_default_format_is_tab_separated_or_what_one_asks_for(http):
    assert http.post("/", content="SELECT 1, 'a'").text == "1\ta\n"
    params = {"default_format": "CSV"}
    assert http.post("/", params=params, content="SELECT 1, 'a'").text == '1,"a"\n'


def test_an_error_has_its_code_and_status(http):
    answer = http.post("/", content="SELECT * FROM nowhere")
    assert answer.status_code == 404
    assert answer.headers["X-ClickHouse-Exception-Code"] == "60"
    assert answer.text.startswith("Code: 60. DB::Exception:")
    assert http.post("/", content="SELECT FROM FROM").status_code == 400


def test_get_changes_nothing(http):
    assert http.get("/", params={"query": "SELECT 1"}).text == "1\n"
    answer = http.get("/", params={"query": "CREATE DATABASE sneaky"})
    assert answer.headers["X-ClickHouse-Exception-Code"] == "164"


def test_rows_may_follow_a_statement_in_the_address(http, client):
    params = {
        "query": "INSERT INTO sample (number, text) FORMAT TSV",
        "database": client.database,
    }
    assert http.post("/", params=params, content=b"5\tfive\n").status_code == 200
    assert client.command("SELECT text FROM sample") == "five"


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [("gzip", gzip.compress), ("zstd", zstd.compress), ("lz4", lz4.frame.compress)],
)
def test_bodies_are_compressed_both_ways(http, encoding, compress):
    query = "SELECT repeat('x', 100000)"
    answer = http.send(
        http.build_request(
            "POST",
            "/",
            params={"enable_http_compression": "1"},
            headers={"Content-Encoding": encoding, "Accept-Encoding": encoding},
            content=compress(query.encode()),
        ),
        stream=True,
    )
    assert answer.headers["Content-Encoding"] == encoding
    packed = b"".join(answer.iter_raw())
    unpack = {"gzip": gzip.decompress, "zstd": zstd.decompress, "lz4": lz4.frame.decompress}
    assert unpack[encoding](packed) == b"x" * 100_000 + b"\n"


def test_an_unknown_compression_is_refused(http):
    answer = http.post("/", headers={"Content-Encoding": "snappy"}, content=b"?")
    assert answer.headers["X-ClickHouse-Exception-Code"] == "89"


def test_a_connection_goes_on_after_an_error(http):
    big = b"SELECT FROM FROM " + b"x" * 300_000
    assert http.post("/", content=big).status_code == 400
    assert http.post("/", content="SELECT 1").text == "1\n"


def test_an_unknown_path_is_not_found(http):
    assert http.get("/admin").status_code == 404


# -- One of its own --------------------------------------------------------------------------------


def test_data_survives_a_restart_and_a_kill_on_the_same_port(clickhouse, run):
    first = run(clickhouse.program())
    with clickhouse_connect.get_client(dsn=clickhouse.url) as client:
        client.command("CREATE TABLE kept (n UInt8) ENGINE = MergeTree ORDER BY n")
        client.insert("kept", [[1], [2]], column_names=["n"])
        first.stop()
        assert first.exit_code == 0
        second = run(clickhouse.program())
        assert client.command("SELECT sum(n) FROM kept") == 3
        second.signal_group(signal.SIGKILL)
        second.kill()
        run(clickhouse.program())
        assert client.command("SELECT sum(n) FROM kept") == 3


def test_clients_wait_while_it_is_being_replaced(clickhouse, home, run):
    run(clickhouse.program()).kill()
    answers = []
    asking = threading.Thread(
        target=lambda: answers.append(httpx.get(f"http://{clickhouse.address}/ping", timeout=60))
    )
    asking.start()
    run(clickhouse.program())
    asking.join()
    assert answers[0].text == "Ok.\n"


def test_the_next_start_takes_the_same_port_and_password(clickhouse, home):
    before = clickhouse.url
    clickhouse.close()
    again = ClickHouse(home)
    try:
        assert again.url == before
    finally:
        again.close()


def test_a_port_that_is_taken_meanwhile_is_replaced(clickhouse, home):
    other = ClickHouse(home)
    try:
        assert other.address != clickhouse.address
    finally:
        other.close()


def test_a_newer_folder_is_refused(clickhouse):
    clickhouse.data.mkdir()
    (clickhouse.data / "VERSION").write_text("99.1.2.3")
    with pytest.raises(StoreError, match=r"is of ClickHouse 99.1.2.3, newer than the .* installed"):
        clickhouse.prepare()


def test_a_corrupt_folder_is_told_in_one_sentence(clickhouse, home, run):
    run(clickhouse.program()).stop()
    for description in (clickhouse.data / "metadata").glob("holdfast*.sql"):
        description.write_bytes(b"rubbish \x00 (")
    child = Child(clickhouse.program(), home)
    child.start()
    with pytest.raises(StoreError) as refused:
        child.wait_ready()
    assert str(refused.value).startswith(f"ClickHouse cannot open {clickhouse.data}: ")
    assert "move it away to begin with empty telemetry" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_full_disk_is_told_in_one_sentence(small_disk):
    home = Home(small_disk)
    home.make()
    clickhouse = ClickHouse(home)
    child = Child(clickhouse.program(), home)
    fill(small_disk)
    child.start()
    try:
        with pytest.raises(StoreError, match=r"The disk is full: make room in .*small") as told:
            child.wait_ready()
    finally:
        child.kill()
        clickhouse.close()
    assert "\n" not in str(told.value)
