"""Where the embedded stores of a home folder listen."""

from __future__ import annotations

from pathlib import Path

ADDRESS_FILE = "stores.env"


def embedded_urls(home: Path) -> dict[str, str]:
    """The `*_URL` variables that the running stores of `home` wrote, else none."""
    try:
        text = (home / ADDRESS_FILE).read_text()
    except OSError:
        return {}
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}
