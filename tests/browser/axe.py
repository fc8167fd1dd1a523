"""axe-core, which finds what a page denies to people who cannot see or point."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_FILE = Path(__file__).parents[2] / "assets" / "node_modules" / "axe-core" / "axe.min.js"


@cache
def axe_source() -> str:
    """The script; `make assets` installs it."""
    assert _FILE.exists(), "axe-core is not installed: run `make assets`"
    return _FILE.read_text()
