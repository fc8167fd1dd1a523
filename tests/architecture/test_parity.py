"""Whatever a page can do, the API and the command line can: docs/parity.md says how.

A form of the dashboard that has no row there fails here, and so does a row that names something
that does not exist.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from django.test import Client
from django.urls import resolve

from holdfast.cli.app import holdfast
from tests.architecture.routes import PAGES, Route, every_route

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "parity.md"
_CODE = re.compile(r"`([^`]+)`")
_ONLY_ON_A_PAGE = "Only on a page"
_ONLY_LOOKED_AT = "What is only looked at"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a table: the pages it is about, the calls and the commands that do the same."""

    section: str
    pages: list[str]
    calls: list[str]
    commands: list[str]


def _rows() -> Iterator[Row]:
    section = ""
    for line in _PAGE.read_text().splitlines():
        section = line.removeprefix("## ") if line.startswith("## ") else section
        if not line.startswith("| `"):
            continue
        cells = [_CODE.findall(cell) for cell in line.strip("|").split("|")]
        has_counterpart = section != _ONLY_ON_A_PAGE
        yield Row(
            section=section,
            pages=cells[0],
            calls=cells[2] if has_counterpart else [],
            commands=cells[3] if has_counterpart else [],
        )


ROWS = list(_rows())


def _name(route: Route) -> str:
    """What the URL conf calls a page; every parameter is content with a 1."""
    return str(resolve(route.path(dict.fromkeys(route.parameters, "1"))).url_name)


def _pages() -> dict[str, Route]:
    """The dashboard's addresses, by their names in the URL conf."""
    found = (route for route in every_route() if route.template.startswith(PAGES))
    return {_name(route): route for route in found if route.method == "post"}


def _named(*sections: str) -> set[str]:
    return {name for row in ROWS if row.section in sections for name in row.pages}


def test_every_form_of_a_page_has_its_counterparts():
    excused = _named(_ONLY_ON_A_PAGE)
    answered = {
        name
        for row in ROWS
        if row.section not in (_ONLY_ON_A_PAGE, _ONLY_LOOKED_AT) and row.calls and row.commands
        for name in row.pages
    }
    assert excused.isdisjoint(answered)
    nobody = Client()  # is sent to sign in; only a page that takes no form says so before
    missing = {
        name
        for name, route in _pages().items()
        if name not in excused | answered
        and nobody.post(route.path(dict.fromkeys(route.parameters, "1"))).status_code != 405
    }
    assert missing == set(), "say in docs/parity.md which call and which command do the same"


def test_every_page_that_is_named_exists():
    named = {name for row in ROWS for name in row.pages}
    known = {_name(route) for route in every_route() if route.template.startswith(PAGES)}
    assert len(named) > 60
    assert named - known - {"home"} == set()


def test_every_call_that_is_named_exists():
    known = {re.sub(r"%\((\w+)\)s", r"{\1}", str(route)) for route in every_route()}
    named = {call for row in ROWS for call in row.calls}
    assert named
    assert named - known == set()


@pytest.mark.parametrize("command", sorted({c for row in ROWS for c in row.commands}))
def test_every_command_that_is_named_exists(command: str):
    program, *words = command.split()
    found: click.Command = holdfast
    assert program == "holdfast"
    for word in words:
        assert isinstance(found, click.Group)
        assert word in found.commands, command
        found = found.commands[word]
    # A group does nothing by itself, unless it says that it does.
    assert not isinstance(found, click.Group) or found.invoke_without_command


def test_every_row_names_both_a_call_and_a_command():
    for row in ROWS:
        if row.section != _ONLY_ON_A_PAGE:
            assert row.calls, row
            assert row.commands, row
