"""What the ClickHouse HTTP interface has to know about a statement before it runs it."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TOKEN = re.compile(
    rb"""
      (?P<blank>  \s+ | --[^\n]* | /\*.*?\*/ )
    | (?P<quoted> '(?:[^'\\]|\\.|'')*' | "(?:[^"\\]|\\.)*" | `(?:[^`\\]|\\.)*` )
    | (?P<word>   [A-Za-z_][A-Za-z0-9_]* )
    | (?P<other>  . )
    """,
    re.VERBOSE | re.DOTALL,
)
_LEAD = re.compile(rb"(?:\s+|--[^\n]*(?:\n|$)|/\*.*?\*/)*", re.DOTALL)
_AFTER_FORMAT = re.compile(rb"[ \t\r]*\n?")
_ENDING_FORMAT = re.compile(
    r"\bFORMAT\s+(?P<name>[A-Za-z0-9_]+)\s*(?:SETTINGS\b[^']*)?;?\s*\Z", re.IGNORECASE
)

# Blocks of these can be put one after the other: a result may be sent while it is computed.
STREAMABLE = frozenset(
    {
        *("Native", "RowBinary", "TabSeparated", "TSV", "TabSeparatedRaw", "TSVRaw", "CSV"),
        *("JSONEachRow", "Values", "LineAsString", "RawBLOB"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Insert:
    """An INSERT whose rows follow it, in a format of their own."""

    head: str  # the statement up to its FORMAT
    format: str
    data: bytes  # the part of the rows that was read with the head


def starts_insert(beginning: bytes) -> bool:
    """Whether a request is an INSERT, seen from its beginning."""
    lead = _LEAD.match(beginning)
    start = lead.end() if lead else 0
    return beginning[start : start + 6].upper() == b"INSERT"


def parse_insert(beginning: bytes) -> Insert | None:
    """Split an INSERT from its rows; None when it is complete in itself (VALUES, SELECT)."""
    depth = 0
    tokens = _TOKEN.finditer(beginning)
    for token in tokens:
        if token.lastgroup == "other":
            depth += {b"(": 1, b")": -1}.get(token.group(), 0)
        if token.lastgroup != "word" or depth:
            continue
        word = token.group().upper()
        if word in {b"VALUES", b"SELECT", b"WITH", b"WATCH"}:
            return None
        if word == b"FORMAT":
            name = next((after for after in tokens if after.lastgroup == "word"), None)
            return _insert(beginning, token.start(), name)
    return None


def _insert(beginning: bytes, head_end: int, name: re.Match[bytes] | None) -> Insert | None:
    if name is None or name.group().upper() == b"VALUES":
        return None
    gap = _AFTER_FORMAT.match(beginning, name.end())
    return Insert(
        head=beginning[:head_end].decode(errors="replace").rstrip(),
        format=name.group().decode(),
        data=beginning[gap.end() if gap else name.end() :],
    )


def output_format(statement: str, default: str) -> str:
    """The format that a statement asks for at its end, else the default."""
    found = _ENDING_FORMAT.search(statement)
    return found["name"] if found else default


def is_select(statement: str) -> bool:
    """Whether a result can be streamed: chdb streams nothing but SELECT."""
    lead = _LEAD.match(statement.encode())
    words = statement.encode()[lead.end() if lead else 0 :].lstrip(b"( \n\t\r")[:6].upper()
    return words == b"SELECT" or words[:4] == b"WITH"


def quote(value: str) -> str:
    """A string literal of ClickHouse."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def quote_name(name: str) -> str:
    """An identifier of ClickHouse."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"
