"""The outside spelling of ids: it says the same, sorts the same, and nothing else is taken."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core.errors import NotFound
from apps.core.ids import new_id, parse_public_id, public_id

ids = st.integers(0, 2**128 - 1).map(lambda number: UUID(int=number))


@given(ids)
def test_an_id_is_found_again_behind_its_spelling(identifier):
    assert parse_public_id("run", public_id("run", identifier)) == identifier


@given(ids, ids)
def test_spellings_sort_as_the_ids_do(one, other):
    assert (public_id("run", one) < public_id("run", other)) == (one < other)


@pytest.mark.parametrize(
    ("number", "letters"),
    [
        (0, "00000000000000000000000000"),
        (31, "0000000000000000000000000z"),
        (32, "00000000000000000000000010"),
        (2**128 - 1, "7zzzzzzzzzzzzzzzzzzzzzzzzz"),
    ],
)
def test_an_id_is_spelled_in_crockfords_base_32(number, letters):
    assert public_id("run", UUID(int=number)) == f"run_{letters}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "run",
        "run_",
        "batch_00000000000000000000000001",
        "run_0000000000000000000000001",
        "run_000000000000000000000000001",
        "run_0000000000000000000000000u",  # not among the letters
        "run_0000000000000000000000000Z",
        "run_ 000000000000000000000000_",
        "run_+0000000000000000000000001",
        "run_80000000000000000000000000",  # beyond 128 bits
        "run_zzzzzzzzzzzzzzzzzzzzzzzzzz",
        "run_\u09660000000000000000000000001",  # a digit, but of another script
    ],
)
def test_nothing_else_is_an_id(text):
    with pytest.raises(NotFound):
        parse_public_id("run", text)


def test_ids_of_one_process_are_in_order():
    made = [new_id() for _ in range(1000)]

    assert made == sorted(made)
