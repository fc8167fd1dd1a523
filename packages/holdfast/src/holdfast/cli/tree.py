"""Commands and groups as this tool has them: every one takes the shared options."""

from __future__ import annotations

from typing import Any

import click

from holdfast.cli.session import ENVIRONMENTS, Session


class Command(click.Command):
    """A command that takes the shared options, too."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.params = [*self.params, *shared_options()]


class Group(click.Group):
    """A group whose commands take the shared options; they are listed as they were added."""

    command_class = Command
    group_class = type

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.params = [*self.params, *shared_options()]

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of a day's work."""
        return list(self.commands)


def shared_options() -> list[click.Parameter]:
    """The options of every command; each may stand before or after the command's name."""
    return [
        _option("--json", field="is_json", is_flag=True, help="Print JSON instead of a table."),
        _option("--profile", field="profile", metavar="NAME", help="The server, by its profile."),
        _option("--api-url", field="api_url", metavar="URL", help="The server, by its address."),
        _option("--project", field="project", metavar="REF", help="The project: proj_…"),
        _option("--env", field="env", type=click.Choice(ENVIRONMENTS), help="The environment."),
        _option(
            "--branch", field="branch", metavar="NAME", help="The branch of preview, or of dev."
        ),
    ]


def _option(name: str, *, field: str, **settings: Any) -> click.Option:
    def keep(context: click.Context, _parameter: click.Parameter, value: Any) -> None:
        session = context.find_object(Session)
        if value and session is not None:
            setattr(session.options, field, value)

    return click.Option([name], callback=keep, expose_value=False, is_eager=True, **settings)
