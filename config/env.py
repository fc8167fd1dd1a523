"""Typed readers of environment variables that report every problem at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off", ""}


class ConfigurationError(Exception):
    """One or more environment variables are missing or malformed."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        lines = "\n".join(f"  - {problem}" for problem in problems)
        super().__init__(f"Holdfast cannot start with this configuration:\n{lines}")


class Reader:
    """Reads variables, collects what is wrong with them, and fails once in `finish`."""

    def __init__(self, source: Mapping[str, str] | None = None) -> None:
        self.source = os.environ if source is None else source
        self.problems: list[str] = []

    def text(self, name: str, default: str | None = None) -> str:
        return self._read(name, self._required(name, default, "", "text"), str, "text")

    def flag(self, name: str, *, default: bool) -> bool:
        return self._read(name, default, _flag, "1/true/yes/on or 0/false/no/off")

    def integer(self, name: str, default: int, *, minimum: int = 0) -> int:
        def parse(raw: str) -> int:
            if (value := int(raw)) < minimum:
                raise ValueError
            return value

        return self._read(name, default, parse, f"a whole number of at least {minimum}")

    def number(self, name: str, default: float, *, minimum: float = 0.0) -> float:
        def parse(raw: str) -> float:
            if not (value := float(raw)) >= minimum:
                raise ValueError
            return value

        return self._read(name, default, parse, f"a number of at least {minimum:g}")

    def words(self, name: str, default: str = "") -> list[str]:
        return [word.strip() for word in self.text(name, default).split(",") if word.strip()]

    def path(self, name: str, default: Path) -> Path:
        return self._read(name, default, lambda raw: Path(raw).expanduser(), "a path")

    def url(self, name: str, default: str | None, *, schemes: tuple[str, ...]) -> str:
        def parse(raw: str) -> str:
            if urlsplit(raw).scheme not in schemes:
                raise ValueError
            return raw

        wanted = " or ".join(f"{scheme}://…" for scheme in schemes)
        form = f"a URL of the form {wanted}"
        stand_in = self._required(name, default, f"{schemes[0]}://nowhere", form)
        return self._read(name, stand_in, parse, form)

    def problem(self, text: str) -> None:
        self.problems.append(text)

    def finish(self) -> None:
        """Raise one ConfigurationError that names everything that was wrong."""
        if self.problems:
            raise ConfigurationError(self.problems)

    def _read(self, name: str, default: T, parse: Callable[[str], T], wanted: str) -> T:
        raw = self.source.get(name)
        if raw is None:
            return default
        try:
            return parse(raw)
        except ValueError:
            self.problems.append(f"{name}={raw!r} is not {wanted}")
            return default

    def _required(self, name: str, default: str | None, stand_in: str, wanted: str) -> str:
        """The default, or a stand-in that lets reading go on, so that later problems show too."""
        if default is None and name not in self.source:
            self.problems.append(f"{name} is not set: it must be {wanted}")
        return stand_in if default is None else default


def _flag(raw: str) -> bool:
    lowered = raw.strip().lower()
    if lowered in _TRUE:
        return True
    if lowered in _FALSE:
        return False
    raise ValueError
