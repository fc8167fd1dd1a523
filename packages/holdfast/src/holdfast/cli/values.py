"""Values on the command line: JSON, from a file, or from stdin."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click


def json_value(_context: click.Context, parameter: click.Parameter, text: str | None) -> Any:
    """The value of a JSON text; @file reads one from a file, and - from stdin."""
    if text is None:
        return None
    try:
        return json.loads(_read(text))
    except OSError as error:
        reason = f"{text[1:]} cannot be read: {error.strerror}"
    except ValueError as error:
        reason = f"not JSON: {error} (text needs quotes: '\"alice\"')"
    raise click.BadParameter(reason, param=parameter)


def _read(text: str) -> str:
    if text == "-":
        return sys.stdin.read()
    return Path(text[1:]).read_text(encoding="utf-8") if text.startswith("@") else text
