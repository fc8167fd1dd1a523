"""The environment variables that tasks see."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from holdfast.cli.exits import CliError, Exit
from holdfast.cli.session import Session, here, pass_session
from holdfast.cli.tree import Group
from holdfast.client import SyncHoldfastClient
from holdfast.client.results import Variable

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@click.group(cls=Group)
def env() -> None:
    """The environment variables of tasks: list, set, unset, pull."""


@env.command("list")
@pass_session
def list_(session: Session) -> None:
    """List variables; the values of secret ones stay on the server."""
    client, project, environment = _place(session)
    session.output.show(
        client.variables.list(project, environment),
        [
            ("NAME", lambda variable: variable.name),
            ("VALUE", lambda variable: "(secret)" if variable.is_secret else variable.value),
        ],
    )


@env.command("set")
@click.argument("pairs", metavar="NAME=VALUE...", nargs=-1, required=True)
@click.option("--secret", "is_secret", is_flag=True, help="Never show the value again.")
@pass_session
def set_(session: Session, pairs: tuple[str, ...], is_secret: bool) -> None:
    """Set variables; NAME alone reads its value from stdin.

    \b
    holdfast env set GREETING=hello LANG=en --env prod
    holdfast env set API_KEY --secret --env prod < key.txt
    """
    given = dict(_pair(pair) for pair in pairs)
    client, project, environment = _place(session)
    client.variables.import_all(project, environment, given, override=True, is_secret=is_secret)
    session.output.show(
        [{"name": name, "isSecret": is_secret} for name in given], [("SET", lambda v: v["name"])]
    )


@env.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@pass_session
def unset(session: Session, names: tuple[str, ...]) -> None:
    """Remove variables."""
    client, project, environment = _place(session)
    for name in names:
        client.variables.delete(project, environment, name)
    session.output.show([{"name": name} for name in names], [("REMOVED", lambda v: v["name"])])


@env.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), default=".env")
@click.option("--force", is_flag=True, help="Replace a FILE that is there.")
@pass_session
def pull(session: Session, file: Path, force: bool) -> None:
    """Write the variables to FILE (.env).

    - prints them instead. The values of secret ones stay on the server, and their lines are
    comments.
    """
    client, project, environment = _place(session)
    variables = client.variables.list(project, environment)
    text = "".join(_dotenv_line(variable) for variable in variables)
    if str(file) == "-":
        sys.stdout.write(text)
        return
    if file.exists() and not force:
        raise CliError(f"{here(file)} is there already; --force replaces it.", Exit.REFUSED)
    file.touch(mode=0o600)
    file.write_text(text, encoding="utf-8")
    session.output.show(
        {"file": str(file), "count": len(variables)},
        [("wrote", lambda row: f"{row['file']} ({row['count']} variables)")],
    )


def _place(session: Session) -> tuple[SyncHoldfastClient, str, str]:
    client, target = session.client(), session.target()
    return client, target.project or session.require_project_ref(), target.environment


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not _NAME.fullmatch(name):
        raise CliError(
            f"{name!r} is no name of a variable: letters, digits and _, no digit first.", Exit.USAGE
        )
    return name, value if separator else sys.stdin.read().removesuffix("\n")


def _dotenv_line(variable: Variable) -> str:
    if variable.is_secret:
        return f"# {variable.name}= (secret)\n"
    if re.fullmatch(r"[\w./:@%+,-]*", variable.value):
        return f"{variable.name}={variable.value}\n"
    escaped = variable.value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'{variable.name}="{escaped}"\n'
