"""The text of a .env file, as its usual readers take it."""

from __future__ import annotations

import re

from apps.environments.errors import VariablesInvalid

_LINE = re.compile(
    r"""
    ^[ \t]*(?:export[ \t]+)?(?P<name>[^\s=#]+)[ \t]*=[ \t]*
    (?: "(?P<double>(?:[^"\\]|\\.)*)" | '(?P<single>[^']*)' | (?P<plain>[^\n]*?) )
    [ \t]*(?:(?<=[ \t"'])\#[^\n]*)?$
    """,
    re.VERBOSE | re.MULTILINE | re.DOTALL,
)
_BLANK = re.compile(r"^[ \t]*(?:#[^\n]*)?$", re.MULTILINE)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


def parse_dotenv(text: str) -> dict[str, str]:
    """The variables of a .env file, the later of two winning; raises VariablesInvalid."""
    text = text.replace("\r\n", "\n")
    found: dict[str, str] = {}
    position = 0
    while position < len(text):
        line = _LINE.match(text, position)
        if line is not None:
            found[line["name"]] = _value(line)
        elif (line := _BLANK.match(text, position)) is None:
            number = text.count("\n", 0, position) + 1
            raise VariablesInvalid(
                f"Line {number} is not of the form NAME=value", detail={"text": ["malformed"]}
            )
        position = line.end() + 1
    return found


def _value(line: re.Match[str]) -> str:
    if line["double"] is not None:
        return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), line["double"], flags=re.DOTALL)
    if line["single"] is not None:
        return line["single"]
    return line["plain"]
