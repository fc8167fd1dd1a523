"""The worker of a version: what `holdfast dev` runs here and providers run elsewhere."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import click

from holdfast.cli.exits import CliError, Exit
from holdfast.cli.session import Session, pass_session
from holdfast.cli.tree import Command
from holdfast.cli.worker_events import WorkerLines, refusal
from holdfast.worker import ConnectionRefused, ProjectFailed, WorkerOptions, serve


@click.command(cls=Command)
@click.option("--version", envvar="HOLDFAST_VERSION", metavar="VERSION", help="Of this code.")
@click.option(
    "--capacity",
    type=click.IntRange(1),
    envvar="HOLDFAST_CAPACITY",
    default=os.cpu_count() or 1,
    metavar="N",
    help="Runs at once; the number of CPUs unless said otherwise.",
)
@click.option(
    "--pool", envvar="HOLDFAST_POOL", default="", metavar="NAME", help="The pool it belongs to."
)
@click.option(
    "--machine",
    envvar="HOLDFAST_MACHINE",
    default="",
    metavar="PRESET",
    help="The preset it is for.",
)
@click.option(
    "--instance", envvar="HOLDFAST_INSTANCE", metavar="NAME", help="The provider's name for it."
)
@click.option("--drain-seconds", type=float, metavar="SECONDS", help="How long a drain may take.")
@click.option("--echo", is_flag=True, help="Show what runs print.")
@click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=".",
    help="The project's folder.",
)
@pass_session
def worker(
    session: Session, /, version: str | None, root: Path, instance: str | None, **settings: object
) -> None:
    """Execute runs of a deployed version here.

    Providers start this; by hand it is of use on a machine that no provider reaches. It goes on
    until SIGTERM or Ctrl-C, which finish what runs and take nothing new; a second one stops at
    once.

    \b
    HOLDFAST_SECRET_KEY=tr_prod_… holdfast worker --version 20261124.1
    """
    if not version:
        raise CliError("Which version is this? Say --version or set HOLDFAST_VERSION.", Exit.USAGE)
    session.without_branch()
    target = session.target("prod")
    session.output.note(f"Working for {target.environment} at {target.api_url}, version {version}")
    options = WorkerOptions(
        root=root.resolve(),
        api_url=target.api_url,
        secret_key=target.secret_key,
        version=version,
        instance=instance or None,
        on_event=WorkerLines(session.output).take,
        **settings,  # type: ignore[arg-type]
    )
    try:
        asyncio.run(serve(options))
    except (ConnectionRefused, ProjectFailed) as error:
        raise refusal(error, session.output) from None
