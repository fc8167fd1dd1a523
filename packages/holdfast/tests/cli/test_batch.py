"""Batches of a file from the terminal."""

from __future__ import annotations

import pytest

from packages.holdfast.tests.cli.conftest import Cli
from packages.holdfast.tests.client.stub import Stub


def test_options_have_the_sdks_names_or_the_apis(cli: Cli, stub: Stub):
    lines = (
        '{"task": "a", "options": {"concurrency_key": "k", "max_attempts": 2, "tags": ["x"]}}\n'
        '{"task": "b", "options": {"concurrencyKey": "k", "maxAttempts": 2, "tags": "x"}}\n'
    )
    assert cli("batch", "trigger", "-", stdin=lines).code == 0
    (sent,) = stub.batch_items.values()
    assert [each["task"] for each in sent.values()] == ["a", "b"]
    first, second = (each["options"] for each in sent.values())
    assert (first["concurrencyKey"], first["maxAttempts"], first["tags"]) == ("k", 2, ["x"])
    assert first == second


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"task": "a"', "Line 3: Expecting ',' delimiter"),
        ('{"task": "a", "options": {"tag": "x"}}', "Line 3: there is no option tag"),
        ('{"task": "a", "options": {"tags": 5}}', "Line 3: tags are texts, not 5"),
    ],
)
def test_a_line_that_is_wrong_is_named_before_anything_is_sent(cli: Cli, stub: Stub, line, said):
    done = cli("batch", "trigger", "-", stdin='{"task": "a"}\n\n' + line + "\n")
    assert (done.code, said in done.err) == (2, True), done.err
    assert len(done.err.splitlines()) == 1
    assert stub.requests == []
