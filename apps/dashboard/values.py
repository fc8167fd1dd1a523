"""Payloads, outputs and metadata as pages show them: parsed, cut when large, or as a link."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from holdfast import packets

LARGEST_SHOWN = 256 * 1024
"""A value is a part of the page up to this many characters, and a download above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A value of a run; `text` is JSON, or plain text when `is_text`."""

    text: str = ""
    is_text: bool = False
    is_absent: bool = False
    is_large: bool = False
    size: int = 0


def value_of(data: str | None, kind: str) -> Value:
    """A packet as a value to show."""
    if data is None:
        return Value(is_absent=True)
    if kind == packets.STORE or len(data) > LARGEST_SHOWN:
        return Value(is_large=True, size=0 if kind == packets.STORE else len(data.encode()))
    if kind == packets.TEXT:
        return Value(text=data, is_text=True, size=len(data.encode()))
    try:
        parsed = json.loads(data)
    except ValueError:
        return Value(text=data, is_text=True, size=len(data.encode()))
    if kind == packets.SUPERJSON and isinstance(parsed, dict):
        parsed = parsed.get("json")
    return shown(parsed)


def shown(value: Any) -> Value:
    """Something that is JSON already."""
    text = json.dumps(value, ensure_ascii=False)
    return Value(text=text, size=len(text.encode()))
