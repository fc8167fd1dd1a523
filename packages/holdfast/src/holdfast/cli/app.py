"""The root of the command tree, and the one place where errors become a line and a code."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Sequence

import click

from holdfast.cli import (
    access_tokens,
    account,
    batch,
    bulk,
    deploy,
    dev,
    environments,
    histories,
    init,
    members,
    organizations,
    queues,
    runs,
    schedules,
    tokens,
    trigger,
    variables,
    worker,
)
from holdfast.cli.exits import Exit, exit_code_of
from holdfast.cli.output import Output
from holdfast.cli.session import Options, Session
from holdfast.cli.tree import Group


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(importlib.metadata.version("holdfast"), message="holdfast %(version)s")
def holdfast() -> None:
    """Write tasks in Python, ship them, and watch them run.

    Settings come from options, then from HOLDFAST_API_URL, HOLDFAST_ACCESS_TOKEN,
    HOLDFAST_SECRET_KEY, HOLDFAST_PROJECT and HOLDFAST_PROFILE, then from the profile that `holdfast
    login` made. A named --profile wins over the variables.
    """


for _command in (
    account.login,
    account.logout,
    account.whoami,
    account.profiles_,
    account.switch,
    init.init,
    dev.dev,
    deploy.deploy,
    deploy.promote,
    deploy.deployments,
    trigger.trigger,
    runs.runs,
    histories.replay_history,
    batch.batch,
    bulk.bulk,
    queues.queues,
    schedules.schedules,
    tokens.tokens,
    variables.env,
    environments.environments,
    environments.branches,
    environments.keys,
    organizations.orgs,
    organizations.projects,
    members.members,
    members.invites,
    members.audit,
    access_tokens.access_tokens,
    access_tokens.sessions,
    account.account,
    worker.worker,
):
    holdfast.add_command(_command)


def run(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code."""
    session = Session(Options())
    try:
        result = holdfast.main(
            args=list(arguments), prog_name="holdfast", standalone_mode=False, obj=session
        )
        return result if isinstance(result, int) else Exit.OK
    except (click.Abort, KeyboardInterrupt):
        return Exit.INTERRUPTED
    except click.ClickException as error:
        return _fail(arguments, _one_line(error), Exit.USAGE)
    except BrokenPipeError:
        return _hang_up()
    except Exception as error:
        code = exit_code_of(error)
        if code is None:
            raise
        return _fail(arguments, str(error), code)
    finally:
        session.close()


def _fail(arguments: Sequence[str], message: str, code: Exit) -> Exit:
    # The options may not have been understood, so `--json` is looked for by hand.
    Output(is_json="--json" in arguments).error(message, code=code)
    return code


def _one_line(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    hint = f" (see `{context.command_path} --help`)" if context else ""
    return f"{error.format_message()}{hint}"


def _hang_up() -> Exit:
    """The reader of stdout is gone (`| head`): nothing more to say, and no complaint on exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return Exit.OK
