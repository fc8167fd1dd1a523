"""Operations on metadata, as the wire contract defines them."""

from __future__ import annotations

import pytest

from holdfast import NotInRun, ctx, metadata
from holdfast.metadata import apply


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ({"type": "set", "key": "b", "value": 2}, {"a": [1, 2, 1], "n": 5, "b": 2}),
        ({"type": "set", "key": "a.b", "value": 2}, {"a": [1, 2, 1], "n": 5, "a.b": 2}),
        ({"type": "set", "key": "$.x.y[1]", "value": 2},
         {"a": [1, 2, 1], "n": 5, "x": {"y": [None, 2]}}),
        ({"type": "delete", "key": "n"}, {"a": [1, 2, 1]}),
        ({"type": "delete", "key": "missing"}, {"a": [1, 2, 1], "n": 5}),
        ({"type": "append", "key": "a", "value": 9}, {"a": [1, 2, 1, 9], "n": 5}),
        ({"type": "append", "key": "new", "value": 9}, {"a": [1, 2, 1], "n": 5, "new": [9]}),
        ({"type": "remove", "key": "a", "value": 1}, {"a": [2], "n": 5}),
        ({"type": "increment", "key": "n", "value": 2}, {"a": [1, 2, 1], "n": 7}),
        ({"type": "increment", "key": "m", "value": -1}, {"a": [1, 2, 1], "n": 5, "m": -1}),
        ({"type": "update", "value": {"only": 1}}, {"only": 1}),
    ],
)  # fmt: skip
def test_an_operation_changes_the_object(operation, expected):
    values = {"a": [1, 2, 1], "n": 5}
    apply(values, operation)
    assert values == expected


@pytest.mark.parametrize("key", ["", "__proto__", "$.a.constructor", "$.a[", "$.a..b"])
def test_a_forbidden_key_is_refused(key):
    with pytest.raises(ValueError, match=r"key|path"):
        apply({}, {"type": "set", "key": key, "value": 1})


def test_outside_of_a_run_there_is_none():
    with pytest.raises(NotInRun, match="metadata"):
        metadata.set("a", 1)
    with pytest.raises(NotInRun, match=r"ctx\.run"):
        ctx.run  # noqa: B018
    assert not ctx
