"""docs/cli.md says what the commands say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from holdfast.cli.app import holdfast
from holdfast.cli.reference import reference

DOCS = Path(__file__).parents[4] / "docs" / "cli.md"


def commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")


ALL = list(commands(holdfast, "holdfast"))


def test_the_page_is_up_to_date():
    assert DOCS.read_text() == reference(), "run `python -m holdfast.cli.reference > docs/cli.md`"


@pytest.mark.parametrize(("path", "command"), ALL, ids=[path for path, _ in ALL])
def test_every_command_is_explained(path: str, command: click.Command):
    first, _, _ = (command.help or "").partition("\n")
    assert first.endswith(".")
    assert len(first) <= 75, "its line in `holdfast --help` would be cut"
    assert path in reference()
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{path} {parameter.opts[0]} says nothing"


@pytest.mark.parametrize(("path", "command"), ALL, ids=[path for path, _ in ALL])
def test_every_command_takes_the_shared_options(path: str, command: click.Command):
    names = {name for parameter in command.params for name in parameter.opts}
    assert {"--json", "--profile", "--api-url", "--project", "--env"} <= names, path
