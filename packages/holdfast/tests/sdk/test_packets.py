"""Values survive the wire, and look there as the public JavaScript client writes them."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import packets
from holdfast.packets import PacketError

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


class Color(enum.Enum):
    RED = "red"


class Address(pydantic.BaseModel):
    city: str
    since: datetime


@dataclasses.dataclass
class Point:
    x: int
    tags: set[str]


def test_no_value_is_absent():
    assert packets.encode(None) == (None, "application/json")
    assert packets.decode(None) is None


def test_text_travels_as_itself():
    assert packets.encode("héllo") == ("héllo", "text/plain")
    assert packets.decode("héllo", "text/plain") == "héllo"


def test_plain_values_carry_no_annotations():
    assert packets.encode({"a": [1, 2.5, None, True, "x"]}) == (
        '{"json":{"a":[1,2.5,null,true,"x"]}}',
        "application/super+json",
    )


def test_a_date_is_written_as_the_public_client_does():
    packet = packets.encode({"a": 1, "when": datetime(1970, 1, 1, tzinfo=UTC)})
    assert json.loads(packet.data or "") == {
        "json": {"a": 1, "when": "1970-01-01T00:00:00.000Z"},
        "meta": {"values": {"when": ["Date"]}},
    }


@pytest.mark.parametrize(
    "value",
    [
        NOON,
        [NOON, {"deep": [NOON]}],
        {"a.b": NOON, "c\\d": NOON, "": NOON},
        {1, 2, 3},
        {"s": {"x", "y"}},
        {1: "one", (2): "two"},
        {1: {2: NOON}},
        2**80,
        -(2**80),
        {"big": 2**80},
        [{"k": {NOON}}],
        math.inf,
        "",
        "123",
        True,
        0,
        [],
        {},
    ],
)
def test_a_value_comes_back_as_it_was(value):
    assert packets.decode(*packets.encode(value)) == value


def test_nan_comes_back():
    assert math.isnan(packets.decode(*packets.encode([math.nan]))[0])


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Color.RED, "red"),
        (Decimal("1.10"), "1.10"),
        (date(2026, 11, 24), "2026-11-24"),
        (timedelta(minutes=1), 60.0),
        (UUID(int=0), "00000000-0000-0000-0000-000000000000"),
        (Path("/a/b"), "/a/b"),
        (b"\x00\xff", "AP8="),
        ((1, 2), [1, 2]),
        (Address(city="Bern", since=NOON), {"city": "Bern", "since": NOON}),
        (Point(x=1, tags={"a"}), {"x": 1, "tags": {"a"}}),
    ],
)
def test_richer_types_become_plain_ones(value, plain):
    assert packets.decode(*packets.encode([value])) == [plain]


def test_what_has_no_form_says_where_it_is():
    with pytest.raises(PacketError, match=r"a object at a\.1 has no form"):
        packets.encode({"a": [1, object()]})


def test_a_value_that_holds_itself_is_refused():
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(PacketError, match="holds itself"):
        packets.encode(loop)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"a": ["undefined"]}, None),
        ({"a": ["regexp"]}, "/x/"),
        ({"a": ["URL"]}, "/x/"),
        ({"a": [["symbol", "x"]]}, "/x/"),
        ({"a": [["custom", "Decimal"]]}, "/x/"),
    ],
)
def test_annotations_of_other_types_do_no_harm(values, expected):
    data = json.dumps({"json": {"a": "/x/"}, "meta": {"values": values, "v": 1}})
    assert packets.decode(data, packets.SUPERJSON) == {"a": expected}


@pytest.mark.parametrize(
    "data",
    [
        "{",
        '{"json": {}, "meta": {"values": {"missing": ["Date"]}}}',
        '{"json": {"a": "no date"}, "meta": {"values": {"a": ["Date"]}}}',
        '{"json": [1], "meta": {"values": {"5": ["Date"]}}}',
        '{"json": 1, "meta": {"values": [[]]}}',
        '{"json": 1, "meta": {"values": "x"}}',
        "[" * 100_000,
    ],
)
def test_a_malformed_packet_is_a_packet_error(data):
    with pytest.raises(PacketError):
        packets.decode(data, packets.SUPERJSON)


def test_json_without_an_envelope_is_taken_as_it_is():
    assert packets.decode('{"a":1}', packets.SUPERJSON) == {"a": 1}
    assert packets.decode('{"json":1}', packets.JSON) == {"json": 1}


def test_a_stored_packet_must_be_downloaded_first():
    with pytest.raises(PacketError, match="download"):
        packets.decode("path/to/it", packets.STORE)


def test_plain_drops_the_annotations():
    packet = packets.encode({"when": NOON, "n": {1}})
    assert packets.plain(*packet) == {"when": "2026-11-24T12:00:00.000Z", "n": [1]}


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.datetimes().map(
        lambda moment: moment.replace(tzinfo=UTC, microsecond=moment.microsecond // 1000 * 1000)
    ),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(json_values)
def test_any_json_value_with_dates_comes_back(value):
    assert packets.decode(*packets.encode(value)) == value
