"""Where an INSERT ends and its rows begin, and what a statement's result looks like."""

import pytest

from config.stores.clickhouse import encoding, statement


@pytest.mark.parametrize(
    ("body", "head", "name", "data"),
    [
        (b"INSERT INTO t FORMAT Native\n\x01\x02", "INSERT INTO t", "Native", b"\x01\x02"),
        (b"insert into t (a, b) format TSV\n1\t2", "insert into t (a, b)", "TSV", b"1\t2"),
        (
            b"INSERT INTO t SETTINGS x = 1 FORMAT CSV 1,2",
            "INSERT INTO t SETTINGS x = 1",
            "CSV",
            b"1,2",
        ),
        (b"/* FORMAT A */ INSERT INTO t -- FORMAT B\n FORMAT C\n", None, "C", b""),
        (b"INSERT INTO `FORMAT x` FORMAT Native \r\n\n", "INSERT INTO `FORMAT x`", "Native", b"\n"),
        (
            b"INSERT INTO t (`values`, format) FORMAT TSV\n",
            "INSERT INTO t (`values`, format)",
            "TSV",
            b"",
        ),
    ],
)
def test_rows_begin_after_the_format(body, head, name, data):
    assert statement.starts_insert(body)
    insert = statement.parse_insert(body)
    assert insert is not None
    assert (insert.format, insert.data) == (name, data)
    assert head is None or insert.head == head


@pytest.mark.parametrize(
    "body",
    [
        b"INSERT INTO t VALUES (1, 'FORMAT TSV')",
        b"INSERT INTO t FORMAT Values (1)",
        b"INSERT INTO t SELECT 1 FORMAT Native",
        b"INSERT INTO t WITH 1 AS x SELECT x",
        b"INSERT INTO t",
        b"INSERT INTO t FORMAT",
    ],
)
def test_an_insert_without_rows_of_its_own_is_an_ordinary_statement(body):
    assert statement.parse_insert(body) is None


def test_other_statements_are_no_inserts():
    assert not statement.starts_insert(b"-- INSERT\nSELECT 'INSERT INTO t FORMAT TSV'")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("SELECT 1", "TSV"),
        ("SELECT 1 FORMAT JSON", "JSON"),
        ("SELECT 1 format Native SETTINGS max_threads = 1;", "Native"),
        ("SELECT 'FORMAT JSON'", "TSV"),
    ],
)
def test_the_format_is_what_the_statement_ends_with(text, found):
    assert statement.output_format(text, "TSV") == found


@pytest.mark.parametrize(
    ("text", "streams"),
    [
        ("SELECT 1", True),
        ("/* why */ (SELECT 1) UNION ALL (SELECT 2)", True),
        ("WITH 1 AS x SELECT x", True),
        ("SHOW TABLES", False),
        ("SELECTION", True),
    ],
)
def test_only_a_select_streams(text, streams):
    assert statement.is_select(text) is streams


def test_literals_and_names_are_quoted():
    assert statement.quote("it's \\ here") == r"'it\'s \\ here'"
    assert statement.quote_name("a`b") == r"`a\`b`"


@pytest.mark.parametrize("name", ["gzip", "deflate", "zstd", "lz4"])
def test_frames_that_follow_each_other_are_one_body(name):
    packed = encoding.compress(b"one ", name) + encoding.compress(b"two", name)
    pieces = [packed[at : at + 7] for at in range(0, len(packed), 7)]
    assert b"".join(encoding.decompressed(iter(pieces), name)) == b"one two"


def test_the_cheapest_encoding_that_the_client_knows_is_taken():
    assert encoding.choose("gzip;q=1.0, zstd, lz4") == "lz4"
    assert encoding.choose("br") == ""
