"""What a home folder says about itself: where its stores listen, and its secret key."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

ADDRESS_FILE = "stores.env"
SECRET_FILE = "secret.env"  # noqa: S105 -- the name of a file


_ROOT = Path(__file__).resolve().parent.parent.parent


def home_folder() -> Path:
    """HOLDFAST_HOME, else `.holdfast` in this checkout."""
    return Path(os.environ.get("HOLDFAST_HOME") or _ROOT / ".holdfast").resolve()


def embedded_urls(home: Path) -> dict[str, str]:
    """The variables that the supervisor of `home` wrote: `*_URL` and SECRET_KEY, else none."""
    return {**_read(home / SECRET_FILE), **_read(home / ADDRESS_FILE)}


def write_urls(home: Path, variables: Mapping[str, str]) -> None:
    """Tell every process that is started with this home where its stores are."""
    lines = "".join(f"{name}={value}\n" for name, value in variables.items())
    _write_private(home / ADDRESS_FILE, lines)


def ensure_secret(home: Path) -> None:
    """Make this home's secret key where there is none; it is for nobody else to read."""
    if not (home / SECRET_FILE).exists():
        home.mkdir(parents=True, exist_ok=True)
        _write_private(home / SECRET_FILE, f"SECRET_KEY={secrets.token_urlsafe(48)}\n")


def _read(path: Path) -> dict[str, str]:
    try:
        text = path.read_text()
    except OSError:
        return {}
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _write_private(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    with open(os.open(partial, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as out:
        out.write(text)
    partial.replace(path)  # readers see the old file or the new one, never a part
