"""One's own personal access tokens and browser sessions from the terminal."""

from __future__ import annotations

import click

from holdfast.cli.exits import CliError, Exit
from holdfast.cli.organizations import yes_option
from holdfast.cli.output import age
from holdfast.cli.session import Session, pass_session
from holdfast.cli.tree import Group


@click.group("access-tokens", cls=Group)
def access_tokens() -> None:
    """Your personal access tokens: list, create, revoke."""


@access_tokens.command("list")
@pass_session
def list_tokens(session: Session) -> None:
    """List the tokens that act as you."""
    session.output.show(
        session.personal().access_tokens.list(),
        [
            ("TOKEN", lambda token: token.id),
            ("NAME", lambda token: token.name),
            ("ENDS IN", lambda token: token.obfuscated_token),
            ("USED", lambda token: age(token.used_at)),
            ("EXPIRES", lambda token: token.expires_at),
        ],
    )


@access_tokens.command()
@click.argument("name", metavar="NAME")
@click.option("--expires-in", metavar="LENGTH", help="When it ends by itself, such as 90d.")
@pass_session
def create(session: Session, name: str, expires_in: str | None) -> None:
    """Make a token that acts as you, and print it this once.

    \b
    holdfast access-tokens create ci --expires-in 30d
    """
    made = session.personal().access_tokens.create(name, expires_in=expires_in)
    session.output.show(
        made, [("token", lambda token: token.token), ("id", lambda token: token.id)]
    )
    session.output.note("It is not shown again.")


@access_tokens.command()
@click.argument("token", metavar="TOKEN")
@pass_session
def revoke(session: Session, token: str) -> None:
    """End a token at once; TOKEN is its id."""
    session.personal().access_tokens.revoke(token)
    session.output.show([{"id": token}], [("REVOKED", lambda row: row["id"])])


@click.group(cls=Group)
def sessions() -> None:
    """Browsers in which you are signed in: list, end."""


@sessions.command("list")
@pass_session
def list_sessions(session: Session) -> None:
    """List where you are signed in, the latest first."""
    session.output.show(
        session.personal().sessions.list(),
        [
            ("SESSION", lambda found: found.id),
            ("BROWSER", lambda found: found.user_agent),
            ("FROM", lambda found: found.ip),
            ("SEEN", lambda found: age(found.last_seen_at)),
        ],
    )


@sessions.command()
@click.argument("number", metavar="[SESSION]", type=int, required=False)
@click.option("--all", "is_all", is_flag=True, help="Everywhere.")
@yes_option
@pass_session
def end(session: Session, number: int | None, is_all: bool, is_sure: bool) -> None:
    """Sign out of the browser SESSION, or with --all of every one."""
    if is_all == (number is not None):
        raise CliError("Say SESSION or --all.", Exit.USAGE)
    client = session.personal()
    if number is not None:
        client.sessions.end(number)
        ended = 1
    else:
        session.confirm("You are signed out of every browser.", is_sure=is_sure)
        ended = client.sessions.end_all().ended
    session.output.show({"ended": ended}, [("ended", lambda row: row["ended"])])
