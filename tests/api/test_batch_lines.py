"""Lines of a batch: what they have in common is read once, and means for each what it says."""

from __future__ import annotations

import pytest
from rest_framework.exceptions import ValidationError

from apps.api.batch_lines import ItemReader
from apps.core.errors import DomainError
from tests.runs.engine import NOW


def reader(require=lambda task: None):
    return ItemReader(require=require, headers={}, now=NOW)


def of(item):
    return item.index, item.request.task, item.payload or item.request.payload


def test_lines_that_differ_in_their_payload_share_a_request():
    read = reader().read
    items = [
        read({"index": n, "task": "t", "payload": n, "options": {"tags": ["a"], "payloadSize": n}})
        for n in range(3)
    ]
    assert [of(item) for item in items] == [(0, "t", "0"), (1, "t", "1"), (2, "t", "2")]
    assert len({id(item.request) for item in items}) == 1
    assert items[0].request.tags == ("a",)


@pytest.mark.parametrize(
    "other",
    [
        {"task": "u"}, {"options": {"tags": ["b"]}}, {"options": {"test": True}},
        {"options": {"maxAttempts": 2}}, {"options": {"payloadType": "text/plain"}},
    ],
)  # fmt: skip
def test_lines_that_differ_in_more_do_not(other):
    read = reader().read
    first = read({"index": 0, "task": "t", "payload": "p", "options": {"maxAttempts": 1}})
    second = read({"index": 1, "task": "t", "payload": "p", "options": {}} | other)
    assert first.request != second.request


def test_how_a_payload_is_encoded_counts_for_each():
    read = reader().read
    options = {"payloadType": " text/plain "}
    bodies = [{"payload": "a"}, {"payload": {"n": 1}}, {}, {"payload": None}, {"payload": "b"}]
    items = [
        read({"index": n, "task": "t", "options": options, **body}) for n, body in enumerate(bodies)
    ]
    assert [(item.payload, item.request.payload_type) for item in items] == [
        ("a", "text/plain"),
        ('{"n":1}', "application/json"),
        (None, "text/plain"),
        ("null", "application/json"),
        ("b", "text/plain"),
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"index": True}, {"index": -1}, {"index": "0"}, {"index": None}, {"task": ["t"]},
        {"task": None}, {"options": {"payloadSize": -1}}, {"options": {"payloadSize": "1"}},
        {"options": {"maxAttempts": True}}, {"options": []},
    ],
)  # fmt: skip
def test_a_line_is_refused_however_many_were_fine(wrong):
    read = reader().read
    fine = {"index": 0, "task": "t", "payload": 1, "options": {"maxAttempts": 1}}
    read(fine)
    with pytest.raises(ValidationError):
        read(fine | wrong)


@pytest.mark.parametrize("line", [[], "text", None, 1])
def test_a_line_is_an_object(line):
    with pytest.raises(ValidationError):
        reader().read(line)


def test_a_caller_may_trigger_each_task_that_it_names():
    asked = []
    read = reader(asked.append).read
    for task in ("t", "t", "u"):
        read({"index": 0, "task": task})
    assert asked == ["t", "u"]


def test_a_stored_payload_is_named_by_a_text_in_each_line():
    read, options = reader().read, {"payloadType": "application/store"}
    assert read({"index": 0, "task": "t", "payload": "a/b", "options": options}).payload == "a/b"
    for payload in ("", 1):
        with pytest.raises(DomainError):
            read({"index": 0, "task": "t", "payload": payload, "options": options})
