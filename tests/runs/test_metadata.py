"""Metadata: replaced, or changed by operations in their order."""

from __future__ import annotations

import pytest

from apps.core.errors import Invalid, NotFound, TooLarge
from apps.runs.limits import limits
from apps.runs.operations.metadata import applied, change_metadata
from tests import factories
from tests.runs.engine import NOW, completed, get, kinds, trigger, unknown_run, version
from tests.runs.threads import together


def op(kind, key=None, value=None):
    found = {"type": kind, "value": value}
    return found if key is None else {**found, "key": key}


CASES = [
    ({}, [op("set", "a", 1)], {"a": 1}),
    ({"a": 1}, [op("set", "a", None)], {"a": None}),
    ({"a": {"b": 1}}, [op("set", "a", {"c": 2})], {"a": {"c": 2}}),
    ({"a": 1}, [op("delete", "a")], {}),
    ({}, [op("delete", "a")], {}),
    ({}, [op("append", "a", 1), op("append", "a", 2)], {"a": [1, 2]}),
    ({"a": 1}, [op("append", "a", 2)], {"a": [1, 2]}),
    ({"a": None}, [op("append", "a", 2)], {"a": [2]}),
    ({"a": [1, 2, 1]}, [op("remove", "a", 1)], {"a": [2]}),
    ({"a": [{"b": 1}]}, [op("remove", "a", {"b": 1})], {"a": []}),
    ({"a": 1}, [op("remove", "a", 1)], {"a": 1}),
    ({}, [op("remove", "a", 1)], {}),
    ({"a": 1}, [op("increment", "a", 2)], {"a": 3}),
    ({}, [op("increment", "a", -1.5)], {"a": -1.5}),
    ({"a": "x"}, [op("increment", "a", 1)], {"a": 1}),
    ({"a": True}, [op("increment", "a", 1)], {"a": 1}),
    ({"a": 1}, [op("update", value={"b": 2})], {"b": 2}),
    ({"a": 1}, [op("update", value={"b": 2}), op("set", "c", 3)], {"b": 2, "c": 3}),
    ({"$x": 1}, [op("set", "a.b", 1)], {"$x": 1, "a.b": 1}),
    ({}, [op("set", "$.a.b", 1)], {"a": {"b": 1}}),
    ({"a": {"b": 1, "c": 2}}, [op("delete", "$.a.b")], {"a": {"c": 2}}),
    ({}, [op("append", "$.a.b", 1)], {"a": {"b": [1]}}),
    ({}, [op("increment", "$.a.b", 1)], {"a": {"b": 1}}),
    ({}, [op("set", "$.steps[1].state", "done")], {"steps": [None, {"state": "done"}]}),
    ({"steps": [{"n": 1}]}, [op("increment", "$.steps[0].n", 1)], {"steps": [{"n": 2}]}),
    ({"steps": [1, 2, 3]}, [op("delete", "$.steps[1]")], {"steps": [1, 3]}),
    ({"steps": [1]}, [op("delete", "$.steps[7]")], {"steps": [1]}),
    ({"steps": [1]}, [op("set", "$.steps[2]", 3)], {"steps": [1, None, 3]}),
]


@pytest.mark.parametrize(("before", "operations", "after"), CASES)
def test_an_operation_does_what_the_contract_says(before, operations, after):
    kept = repr(before)
    assert applied(before, operations) == after
    assert repr(before) == kept, "the value that was there is not touched"


@pytest.mark.parametrize(
    "operation",
    [
        op("explode", "a"),
        op("set", ""),
        op("set", "__proto__", 1),
        op("set", "$.a.constructor", 1),
        op("set", "$.", 1),
        op("set", "$.a[999999]", 1),
        op("increment", "a", "1"),
        op("increment", "a", True),
        op("update", value=[1]),
        "not an operation",
        None,
    ],
)
def test_an_operation_that_makes_no_sense_is_refused(operation):
    with pytest.raises(Invalid):
        applied({}, [operation])


@pytest.mark.parametrize("value", [1, "text", [1], None, True])
def test_a_path_through_something_else_is_refused(value):
    with pytest.raises(Invalid, match="no place"):
        applied({"a": value}, [op("set", "$.a.b", 1)])


# -- On runs -----------------------------------------------------------------------------------


def change(acme, run_id, metadata=None, **parts):
    return change_metadata(acme.scope, run_id=run_id, metadata=metadata, now=NOW, **parts)


@pytest.mark.django_db
def test_metadata_is_replaced_and_then_changed(acme, worker):
    run_id = trigger(acme.scope, metadata={"old": 1})
    assert change(acme, run_id, {"new": 1}, operations=[op("increment", "new", 1)]) == {"new": 2}
    assert get(run_id).metadata == {"new": 2}
    assert kinds(run_id) == ["triggered", "metadata"]


@pytest.mark.django_db
def test_operations_reach_the_parent_and_the_root(acme, worker):
    root = trigger(acme.scope, "parent")
    parent = trigger(acme.scope, parent_run_id=root)
    child = trigger(acme.scope, parent_run_id=parent)
    change(
        acme, child, operations=[op("set", "me", 1)], parent_operations=[op("set", "p", 1)],
        root_operations=[op("set", "r", 1)],
    )  # fmt: skip
    assert [get(run_id).metadata for run_id in (child, parent, root)] == [
        {"me": 1}, {"p": 1}, {"r": 1},
    ]  # fmt: skip


@pytest.mark.django_db
def test_a_run_without_a_parent_is_its_own(acme, worker):
    run_id = trigger(acme.scope)
    change(acme, run_id, parent_operations=[op("set", "p", 1)], root_operations=[op("set", "r", 1)])
    assert get(run_id).metadata == {"p": 1, "r": 1}


@pytest.mark.django_db
def test_metadata_has_a_limit(acme, worker):
    run_id = trigger(acme.scope, metadata={"a": 1})
    with pytest.raises(TooLarge):
        change(acme, run_id, operations=[op("set", "b", "x" * limits().metadata_bytes)])
    assert get(run_id).metadata == {"a": 1}


@pytest.mark.django_db
def test_what_postgresql_cannot_hold_is_replaced(acme, worker):
    run_id = trigger(acme.scope)
    change(acme, run_id, {"a\0": "\ud800", "n": float("nan")})
    assert get(run_id).metadata == {"a\ufffd": "\ufffd", "n": None}


@pytest.mark.django_db
def test_a_run_that_has_ended_may_get_metadata(acme, worker):
    run_id = trigger(acme.scope)
    worker.say(completed(*worker.claim()))
    assert change(acme, run_id, {"rated": 5}) == {"rated": 5}


@pytest.mark.django_db
def test_charlie_changes_nothing_of_alices(acme, worker, charlie):
    run_id = trigger(acme.scope)
    for one in (run_id, unknown_run()):
        with pytest.raises(NotFound):
            change(charlie, one, {"mine": 1})
    assert get(run_id).metadata == {}


@pytest.mark.django_db(transaction=True)
def test_increments_at_once_are_all_counted():
    acme = factories.acme()
    version(acme.production, "hello")
    root = trigger(acme.scope)
    children = [trigger(acme.scope, parent_run_id=root) for _ in range(4)]

    def count(child):
        for _ in range(5):
            change(acme, child, parent_operations=[op("increment", "n", 1)])

    together(*(lambda child=child: count(child) for child in children))
    assert get(root).metadata == {"n": 20}
