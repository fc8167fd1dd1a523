"""Signing in and out, and choosing between servers."""

from __future__ import annotations

import sys
import time
import webbrowser
from dataclasses import replace

import click

from holdfast.api_errors import RateLimitError
from holdfast.cli import profiles
from holdfast.cli.exits import CliError, Exit
from holdfast.cli.profiles import Profile
from holdfast.cli.session import Session, pass_session
from holdfast.cli.tree import Command, Group
from holdfast.client import SyncHoldfastClient
from holdfast.client.results import Identity

_PATIENCE_SECONDS = 300


@click.command(cls=Command)
@click.option("--token", metavar="TOKEN", help="A personal access token; - reads it from stdin.")
@click.option("--no-browser", is_flag=True, help="Only print the address to open.")
@pass_session
def login(session: Session, token: str | None, no_browser: bool) -> None:
    """Sign in to a server and remember it as a profile.

    Without --token, an address is opened in the browser, where you approve this terminal. The
    token is kept in $XDG_CONFIG_HOME/holdfast/config.json, readable by you only.

    \b
    holdfast login --api-url https://holdfast.example.com
    holdfast login --profile work --api-url https://holdfast.work.example --token -
    """
    name = session.options.profile or profiles.load().current
    session.options.profile = None  # it need not be there yet
    known = profiles.load().by_name.get(name)
    if session.options.api_url is None and known is not None:
        session.options.api_url = known.api_url
    if token == "-":  # noqa: S105 - means stdin
        token = sys.stdin.readline().strip()
    token = token or _device_login(session, opens_browser=not no_browser)
    with SyncHoldfastClient(api_url=session.api_url, access_token=token, source="cli") as client:
        identity = client.account.whoami()
    saved = profiles.load().with_profile(name, Profile(api_url=session.api_url, access_token=token))
    profiles.save(replace(saved, current=name))
    _show_identity(session, name, identity)


@click.command(cls=Command)
@pass_session
def logout(session: Session) -> None:
    """Forget the token of a profile."""
    known = profiles.load()
    name = session.options.profile or known.current
    if name not in known.by_name:
        raise CliError(f"There is no profile {name!r}.", Exit.USAGE)
    remaining = {key: value for key, value in known.by_name.items() if key != name}
    profiles.save(replace(known, by_name=remaining))
    session.output.note(f"Signed out of {known.by_name[name].api_url} (profile {name}).")


@click.command(cls=Command)
@pass_session
def whoami(session: Session) -> None:
    """Show who is signed in, and where."""
    identity = session.personal().account.whoami(project=session.project_ref)
    _show_identity(session, session.profile_name, identity)


@click.group(cls=Group)
def account() -> None:
    """Your account: rename."""


@account.command()
@click.argument("name", metavar="NAME")
@pass_session
def rename(session: Session, name: str) -> None:
    """Change how you are called; an empty NAME leaves your address."""
    session.output.show(
        session.personal().account.rename(name),
        [("name", lambda person: person.name), ("email", lambda person: person.email)],
    )


@click.command("profiles", cls=Command)
@pass_session
def profiles_(session: Session) -> None:
    """List the servers that you are signed in to."""
    known = profiles.load()
    rows = [
        {
            "name": name,
            "apiUrl": profile.api_url,
            "isCurrent": name == known.current,
            "isSignedIn": bool(profile.access_token),
        }
        for name, profile in sorted(known.by_name.items())
    ]
    session.output.show(
        rows,
        [
            ("", lambda row: "*" if row["isCurrent"] else ""),
            ("PROFILE", lambda row: row["name"]),
            ("SERVER", lambda row: row["apiUrl"]),
            ("SIGNED IN", lambda row: row["isSignedIn"]),
        ],
    )


@click.command(cls=Command)
@click.argument("name")
@pass_session
def switch(session: Session, name: str) -> None:
    """Use another profile from now on."""
    known = profiles.load()
    if name not in known.by_name:
        names = ", ".join(sorted(known.by_name)) or "none yet"
        raise CliError(f"There is no profile {name!r} ({names}).", Exit.USAGE)
    profiles.save(replace(known, current=name))
    session.output.note(f"Using {known.by_name[name].api_url} (profile {name}).")


def _device_login(session: Session, *, opens_browser: bool) -> str:
    client = session.anonymous()
    code = client.account.authorize()
    session.output.note(f"Approve this terminal at {code.url}")
    session.output.note(f"The page shows a code that ends in {code.authorization_code[-4:]}.")
    if opens_browser and session.output.is_interactive:
        webbrowser.open(code.url)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    with session.output.busy("Waiting for you to approve…"):
        while time.monotonic() < deadline:
            try:
                token = client.account.redeem(code.authorization_code)
            except RateLimitError:
                token = None
            if token is not None:
                return token
            time.sleep(1)
    raise CliError(f"Nobody approved within {_PATIENCE_SECONDS} seconds.", Exit.AUTHENTICATION)


def _show_identity(session: Session, profile: str, identity: Identity) -> None:
    shown = {"profile": profile, "apiUrl": session.api_url, "email": identity.email}
    session.output.show(
        {**shown, "userId": identity.user_id},
        [
            ("signed in as", lambda row: row["email"]),
            ("server", lambda row: row["apiUrl"]),
            ("profile", lambda row: row["profile"]),
        ],
    )
