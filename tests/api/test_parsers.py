import io

import pytest

from apps.api import parsers
from apps.api.errors import BadRequest
from apps.core.errors import TooLarge


def test_an_empty_body_is_an_empty_object():
    assert parsers.parse_json(b"") == {}
    assert parsers.parse_json(b" \n") == {}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"[1", "The body is not JSON: Expecting ',' delimiter: line 1 column 3 (char 2)"),
        (b"no", "The body is not JSON: Expecting value: line 1 column 1 (char 0)"),
        (b"NaN", "The body is not JSON: NaN is not a JSON value"),
        (b"\xff", "The body is not JSON: it is not UTF-8"),
        (b"[" * 100_000, "The body is not JSON: it is nested too deeply"),
    ],
)
def test_what_is_not_json_is_refused_with_the_reason(raw, message):
    with pytest.raises(BadRequest) as caught:
        parsers.parse_json(raw)

    assert caught.value.message == message


def test_a_body_of_exactly_the_limit_is_read():
    assert parsers.read_limited(io.BytesIO(b"1234"), 4) == b"1234"


def test_a_body_over_the_limit_is_too_large():
    with pytest.raises(TooLarge, match="The body may be at most 4 bytes"):
        parsers.read_limited(io.BytesIO(b"12345"), 4)


def test_lines_are_numbered_and_empty_ones_skipped():
    found = list(parsers.lines(io.BytesIO(b'{"a":1}\n\n{"b":2}'), 100))

    assert found == [(1, b'{"a":1}'), (3, b'{"b":2}')]


def test_a_line_over_the_limit_is_too_large():
    with pytest.raises(TooLarge, match="Line 2: an item may be at most 8 bytes"):
        list(parsers.lines(io.BytesIO(b"1234567\n123456789\n"), 8))
