"""The reference of the command line, made from the commands: ``python -m holdfast.cli.reference``.

What it prints is docs/cli.md; a test holds both equal.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator

import click

from holdfast.cli.app import holdfast
from holdfast.cli.exits import MEANING
from holdfast.cli.tree import shared_options

_INTRODUCTION = """\
# The command line

`pip install 'holdfast[cli]'` brings the `holdfast` command. This page is made from the commands
themselves (`python -m holdfast.cli.reference`); `--help` on any of them says the same.

Results go to stdout, as a table or, with `--json`, as JSON under the names of the API. Everything
else goes to stderr. An error is one line there, and an exit code that scripts may rely on. Nothing
is coloured, cut or asked where there is no terminal; `NO_COLOR` is honoured.

## Settings

An option wins over a variable, a variable over the profile; a profile that is named with
`--profile` wins over the variables.

| option | variable | otherwise |
|---|---|---|
| `--api-url` | `HOLDFAST_API_URL` | the profile's server, else `http://127.0.0.1:8000` |
| `--profile` | `HOLDFAST_PROFILE` | the current profile (`holdfast switch`) |
| `--project` | `HOLDFAST_PROJECT` | `ref` in the nearest `holdfast.toml` |
| `--env` | | `dev`; `prod` for `deploy`, `promote`, `deployments` and `worker` |
| | `HOLDFAST_ACCESS_TOKEN` | the profile's token, for the profile's server only |
| | `HOLDFAST_SECRET_KEY` | the key of the project's environment, asked of the server |

`HOLDFAST_SECRET_KEY` means one environment already: with it neither a sign-in nor `--env` is
needed, and naming another environment, project or profile leaves it aside.

Profiles are kept in `$XDG_CONFIG_HOME/holdfast/config.json`, readable by their owner only.

## Exit codes

| code | meaning |
|---|---|
"""


def reference() -> str:
    """The whole page."""
    codes = "".join(f"| {int(code)} | {meaning} |\n" for code, meaning in MEANING.items())
    options = "".join(_option_lines(shared_options()))
    commands = "\n".join(_sections(holdfast, "holdfast"))
    return f"{_INTRODUCTION}{codes}\n## Options of every command\n\n{options}\n{commands}"


def _sections(group: click.Group, path: str) -> Iterator[str]:
    for name, command in group.commands.items():
        yield from _section(command, f"{path} {name}")
        if isinstance(command, click.Group):
            yield from _sections(command, f"{path} {name}")


def _section(command: click.Command, path: str) -> Iterator[str]:
    level = "#" * (path.count(" ") + 1)
    context = click.Context(command, info_name=path)
    pieces = [piece for piece in command.collect_usage_pieces(context) if piece != "[OPTIONS]"]
    yield f"{level} {' '.join([path, *pieces])}\n"
    yield f"{_prose(command.help or '')}\n"
    shared = {option.name for option in shared_options()}
    own = [
        parameter
        for parameter in command.params
        if isinstance(parameter, click.Option) and parameter.name not in shared
    ]
    if own:
        yield "".join(_option_lines(own))


def _option_lines(options: list[click.Option] | list[click.Parameter]) -> Iterator[str]:
    context = click.Context(holdfast)
    for option in options:
        names, text = option.get_help_record(context) or ("", "")
        yield f"- `{names}` {' '.join(text.split())}\n"


def _prose(text: str) -> str:
    """Paragraphs as they are; those that click is told not to wrap are examples."""
    paragraphs = []
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        if paragraph.startswith("\b\n"):
            paragraphs.append(f"```sh\n{paragraph.removeprefix(chr(8)).strip()}\n```")
        else:
            paragraphs.append(paragraph.strip())
    return "\n\n".join(paragraphs)


if __name__ == "__main__":
    sys.stdout.write(reference())
