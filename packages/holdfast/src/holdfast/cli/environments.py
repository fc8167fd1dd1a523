"""Environments, their branches and their keys from the terminal."""

from __future__ import annotations

import click

from holdfast.cli.exits import CliError, Exit
from holdfast.cli.organizations import yes_option
from holdfast.cli.output import Column, age
from holdfast.cli.session import Session, pass_session
from holdfast.cli.tree import Group
from holdfast.client.environments import ApiKey, Level

_ENVIRONMENTS: list[Column] = [
    ("ENVIRONMENT", lambda found: found.slug),
    ("STATE", lambda found: "paused" if found.paused else "open"),
    ("LIMIT", lambda found: found.concurrency_limit),
    ("BURST", lambda found: f"x {found.burst_factor:g}" if found.burst_factor != 1 else ""),
    ("WEIGHT", lambda found: f"{found.weight:g}" if found.weight != 1 else ""),
    ("ID", lambda found: found.id),
]
_ENVIRONMENT: list[Column] = [
    ("environment", lambda found: found.slug),
    ("branch", lambda found: found.branch),
    ("limit", lambda found: found.concurrency_limit),
    ("weight", lambda found: found.weight),
    ("id", lambda found: found.id),
]
_BRANCHES: list[Column] = [
    ("BRANCH", lambda found: found.branch),
    ("STATE", lambda found: "paused" if found.paused else "open"),
    ("CREATED", lambda found: age(found.created_at)),
    ("ID", lambda found: found.id),
]


def _level(level: Level) -> str:
    return f"{level.used} of {'any number' if level.limit is None else level.limit}"


def _state(key: ApiKey) -> str:
    if key.name:
        return ""
    return "replaced" if key.expires_at else "main"


@click.group(cls=Group)
def environments() -> None:
    """Environments of a project: list, concurrency, limit, pause, resume."""


@environments.command("list")
@pass_session
def list_environments(session: Session) -> None:
    """List the environments of a project."""
    project = session.require_project_ref()
    session.output.show(session.personal().environments.list(project), _ENVIRONMENTS)


@environments.command()
@pass_session
def concurrency(session: Session) -> None:
    """Show how many slots are held: of dev, unless --env says otherwise."""
    project = session.require_project_ref()
    session.output.show(
        session.personal().environments.concurrency(project, session.environment),
        [
            ("environment", lambda found: _level(found.environment)),
            ("organization", lambda found: _level(found.organization)),
            ("of one queue", lambda found: found.base),
        ],
    )


@environments.command()
@click.argument("runs", metavar="[RUNS]", required=False, type=click.IntRange(0, 1_000_000))
@click.option(
    "--weight",
    type=click.FloatRange(0.001, 1_000),
    metavar="SHARE",
    help="Its share of what starts, beside the organization's other environments, which have 1.",
)
@pass_session
def limit(session: Session, runs: int | None, weight: float | None) -> None:
    """Let RUNS execute at once, or set the weight: in dev, unless --env says.

    \b
    holdfast environments limit 50 --env prod
    holdfast environments limit --weight 3 --env prod
    """
    if runs is None and weight is None:
        raise CliError("Say RUNS, --weight, or both.", Exit.USAGE)
    project = session.require_project_ref()
    changed = session.personal().environments.limit(
        project, session.environment, runs, weight=weight
    )
    session.output.show(changed, _ENVIRONMENT)


@environments.command()
@pass_session
def pause(session: Session) -> None:
    """Start no more runs: in dev, unless --env says otherwise."""
    session.personal().environments.pause(session.require_project_ref(), session.environment)
    _show_state(session, is_paused=True)


@environments.command()
@pass_session
def resume(session: Session) -> None:
    """Let runs start again: in dev, unless --env says otherwise."""
    session.personal().environments.resume(session.require_project_ref(), session.environment)
    _show_state(session, is_paused=False)


def _show_state(session: Session, *, is_paused: bool) -> None:
    session.output.show(
        {"environment": session.environment, "paused": is_paused},
        [
            ("environment", lambda row: row["environment"]),
            ("state", lambda row: "paused" if row["paused"] else "open"),
        ],
    )


@click.group(cls=Group)
def branches() -> None:
    """Branches of preview, or with --env dev of your own: list, create, archive.

    Any command acts in one with --branch NAME.
    """


@branches.command("list")
@pass_session
def list_branches(session: Session) -> None:
    """List the active branches, newest first."""
    project, environment = session.require_project_ref(), session.options.env or "preview"
    found = session.personal().branches.list(project, environment=environment)
    session.output.show(found, _BRANCHES)


@branches.command("create")
@click.argument("name", metavar="NAME")
@pass_session
def create_branch(session: Session, name: str) -> None:
    """Make the branch NAME; one that is there stays as it is.

    \b
    holdfast branches create feature/cart
    holdfast trigger hello --branch feature/cart
    """
    project, environment = session.require_project_ref(), session.options.env or "preview"
    made = session.personal().branches.create(project, name, environment=environment)
    session.output.show(made, _ENVIRONMENT)


@branches.command()
@click.argument("name", metavar="NAME")
@yes_option
@pass_session
def archive(session: Session, name: str, is_sure: bool) -> None:
    """Put the branch NAME away; its history stays."""
    project, environment = session.require_project_ref(), session.options.env or "preview"
    session.confirm(f"{name} takes no more requests, and nothing in it runs.", is_sure=is_sure)
    session.personal().branches.archive(project, name, environment=environment)
    session.output.show([{"branch": name}], [("ARCHIVED", lambda row: row["branch"])])


@click.group(cls=Group)
def keys() -> None:
    """Secret keys of an environment: list, create, rotate, revoke.

    They are those of dev, unless --env says otherwise. KEY is the name or the id of one.
    """


@keys.command("list")
@pass_session
def list_keys(session: Session) -> None:
    """List the keys by their ends."""
    project = session.require_project_ref()
    session.output.show(
        session.personal().keys.list(project, session.environment),
        [
            ("KEY", lambda key: key.id),
            ("NAME", lambda key: key.name),
            ("STATE", _state),
            ("ENDS IN", lambda key: key.obfuscated_key),
            ("CREATED", lambda key: age(key.created_at)),
            ("EXPIRES", lambda key: key.expires_at),
        ],
    )


@keys.command("create")
@click.argument("name", metavar="NAME")
@click.option("--expires-in", metavar="LENGTH", help="When it ends by itself, such as 90d.")
@pass_session
def create_key(session: Session, name: str, expires_in: str | None) -> None:
    """Make one more key, and print it this once.

    \b
    holdfast keys create ci --expires-in 90d --env prod
    """
    project = session.require_project_ref()
    made = session.personal().keys.create(
        project, session.environment, name, expires_in=expires_in
    )  # fmt: skip
    session.output.show(made, [("key", lambda key: key.api_key), ("id", lambda key: key.id)])
    session.output.note("It is not shown again.")


@keys.command()
@yes_option
@pass_session
def rotate(session: Session, is_sure: bool) -> None:
    """Replace the main key, and print the new one.

    The older one works for another 24 hours, unless it is revoked.
    """
    project, environment = session.require_project_ref(), session.environment
    question = f"The key of {environment} is replaced, and works for another 24 hours."
    session.confirm(question, is_sure=is_sure)
    made = session.personal().keys.regenerate(project, environment)
    session.output.show(made, [("key", lambda key: key.api_key)])


@keys.command()
@click.argument("key", metavar="KEY")
@yes_option
@pass_session
def revoke(session: Session, key: str, is_sure: bool) -> None:
    """End KEY at once; the main one can only be replaced."""
    project, environment = session.require_project_ref(), session.environment
    key_id = _key_id(session, project, environment, key)
    session.confirm(f"Whoever uses {key} is refused from now on.", is_sure=is_sure)
    session.personal().keys.revoke(project, environment, key_id)
    session.output.show([{"id": key_id}], [("REVOKED", lambda row: row["id"])])


def _key_id(session: Session, project: str, environment: str, key: str) -> str:
    """The id of a key that is named by either; raises CliError."""
    if key.startswith("key_"):
        return key
    named = [
        found.id
        for found in session.personal().keys.list(project, environment)
        if found.name == key
    ]
    if len(named) != 1:
        how_many = "no key" if not named else "more than one key"
        raise CliError(f"{environment} has {how_many} named {key!r}: say its id.", Exit.NOT_FOUND)
    return named[0]
