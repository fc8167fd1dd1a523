"""The examples of docs/sdk.md and docs/durable.md run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from holdfast.tasks import registry

DOCS = Path(__file__).parents[4] / "docs"
EXAMPLES = [
    source
    for page in ("sdk.md", "durable.md")
    for source in re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
]


@pytest.mark.parametrize("source", EXAMPLES, ids=lambda source: source.strip().splitlines()[-1])
def test_an_example_runs(source):
    code = compile(source, str(DOCS), "exec", dont_inherit=True)
    exec(code, {"__name__": "example"})  # noqa: S102 -- our own page
    assert len(registry) > 0
