"""Making a project: a `holdfast.toml` and a first task."""

from __future__ import annotations

from pathlib import Path

import click

from holdfast.cli.exits import CliError, Exit
from holdfast.cli.session import Session, here, pass_session
from holdfast.cli.tree import Command
from holdfast.project import FILE_NAME

_FILE = """\
[project]
ref = "{ref}"
dirs = ["{folder}"]

# Which file names what the tasks need; left out: requirements.txt, uv.lock or pyproject.toml.
# requirements = "requirements.txt"

# What is not deployed, in the syntax of .gitignore.
ignore = []

# For tasks that say nothing themselves.
# [defaults]
# retry = {{ attempts = 3 }}
# machine = "small-1x"
# max_duration = 3600
"""

_TASK = '''\
"""A first task: try it with `holdfast dev`, then `holdfast trigger hello --payload '"alice"'`."""

from holdfast import logger, task


@task(id="hello")
async def hello(name: str) -> str:
    """Greet someone."""
    logger.info("greeting", name=name)
    return f"Hello, {name}!"
'''


@click.command(cls=Command)
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=".")
@click.option(
    "--dir",
    "tasks",
    default="tasks",
    show_default=True,
    metavar="NAME",
    help="Where the tasks are.",
)
@click.option("--force", is_flag=True, help="Replace a holdfast.toml that is there.")
@pass_session
def init(session: Session, folder: Path, tasks: str, force: bool) -> None:
    """Make FOLDER a Holdfast project, with a first task.

    Asks for the project's ref when --project does not say it. Files that are there are kept.

    \b
    holdfast init --project proj_0192f3
    """
    path = folder / FILE_NAME
    if path.exists() and not force:
        raise CliError(f"{here(path)} is there already; --force replaces it.", Exit.PROJECT)
    ref = session.options.project or _ask(session)
    written = [path]
    (folder / tasks).mkdir(parents=True, exist_ok=True)
    path.write_text(_FILE.format(ref=ref, folder=tasks), encoding="utf-8")
    first = folder / tasks / "hello.py"
    if not any((folder / tasks).glob("*.py")):
        first.write_text(_TASK, encoding="utf-8")
        written.append(first)
    session.output.show(
        {"files": [str(file) for file in written], "project": ref},
        [("wrote", lambda row: ", ".join(row["files"])), ("next", lambda _: "holdfast dev")],
    )


def _ask(session: Session) -> str:
    if not session.output.is_interactive:
        raise CliError("Which project? Say --project proj_…", Exit.USAGE)
    answer: str = click.prompt("The project's ref (proj_…, on its settings page)", err=True)
    return answer.strip()
