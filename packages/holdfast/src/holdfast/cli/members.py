"""The people of an organization from the terminal, and the log of what anybody changed."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime
from typing import Any

import click

from holdfast.cli.exits import CliError, Exit
from holdfast.cli.organizations import organization_option, yes_option
from holdfast.cli.output import Column, age
from holdfast.cli.session import Session, pass_session
from holdfast.cli.tree import Group
from holdfast.client.members import AuditEntry, AuditFilters
from holdfast.client.results import dump

_ROLES = ("owner", "admin", "developer", "viewer")
_MEMBERS: list[Column] = [
    ("EMAIL", lambda member: member.email),
    ("NAME", lambda member: member.name),
    ("ROLE", lambda member: member.role),
    ("JOINED", lambda member: age(member.joined_at)),
    ("ID", lambda member: member.id),
]
_MEMBER: list[Column] = [
    ("email", lambda member: member.email),
    ("name", lambda member: member.name),
    ("role", lambda member: member.role),
    ("id", lambda member: member.id),
]
_INVITES: list[Column] = [
    ("INVITE", lambda invite: invite.id),
    ("EMAIL", lambda invite: invite.email),
    ("ROLE", lambda invite: invite.role),
    ("SENT", lambda invite: age(invite.sent_at)),
    ("EXPIRES", lambda invite: invite.expires_at),
]
_ENTRIES: list[Column] = [
    ("AT", lambda entry: entry.at),
    ("BY", lambda entry: entry.actor.name),
    ("ACTION", lambda entry: entry.action),
    ("TARGET", lambda entry: f"{entry.target.type} {entry.target.id}"),
    ("DETAIL", lambda entry: entry.detail or None),
]
_CSV = ("at", "by", "kind", "action", "target", "target_id", "environment", "detail")


@click.group(cls=Group)
def members() -> None:
    """Members of an organization: list, role, remove.

    MEMBER is the e-mail address or the id of one.
    """


@members.command("list")
@organization_option
@pass_session
def list_members(session: Session, named: str | None) -> None:
    """List who is in, the longest-standing first."""
    organization = session.organization(named)
    session.output.show(session.personal().members.list(organization), _MEMBERS)


@members.command()
@click.argument("member", metavar="MEMBER")
@click.argument("to", metavar="ROLE", type=click.Choice(_ROLES))
@organization_option
@pass_session
def role(session: Session, member: str, to: str, named: str | None) -> None:
    """Give MEMBER another role: owner, admin, developer or viewer.

    \b
    holdfast members role bob@example.com admin
    """
    organization = session.organization(named)
    member_id = _member_id(session, organization, member)
    changed = session.personal().members.change_role(organization, member_id, to)
    session.output.show(changed, _MEMBER)


@members.command()
@click.argument("member", metavar="MEMBER")
@organization_option
@yes_option
@pass_session
def remove(session: Session, member: str, named: str | None, is_sure: bool) -> None:
    """End the membership of MEMBER."""
    organization = session.organization(named)
    member_id = _member_id(session, organization, member)
    question = f"{member} is no member of {organization} any more, and their keys stop working."
    session.confirm(question, is_sure=is_sure)
    session.personal().members.remove(organization, member_id)
    session.output.show([{"id": member_id}], [("REMOVED", lambda row: row["id"])])


@click.group(cls=Group)
def invites() -> None:
    """Invites to an organization: list, create, resend, revoke, accept.

    INVITE is the e-mail address or the id of one.
    """


@invites.command("list")
@organization_option
@pass_session
def list_invites(session: Session, named: str | None) -> None:
    """List invites that were neither accepted nor revoked."""
    organization = session.organization(named)
    session.output.show(session.personal().invites.list(organization), _INVITES)


@invites.command()
@click.argument("email", metavar="EMAIL")
@click.option(
    "--role",
    "as_role",
    type=click.Choice(_ROLES),
    default="developer",
    show_default=True,
    help="What they are once they accept.",
)
@organization_option
@pass_session
def create(session: Session, email: str, as_role: str, named: str | None) -> None:
    """Invite EMAIL; the link goes out by mail.

    \b
    holdfast invites create bob@example.com --role viewer
    """
    organization = session.organization(named)
    made = session.personal().invites.create(organization, email, role=as_role)
    session.output.show([made], [("INVITED", lambda invite: invite.id)])


@invites.command()
@click.argument("invite", metavar="INVITE")
@organization_option
@pass_session
def resend(session: Session, invite: str, named: str | None) -> None:
    """Mail INVITE again; the older link works no more."""
    organization = session.organization(named)
    invite_id = _invite_id(session, organization, invite)
    again = session.personal().invites.resend(organization, invite_id)
    session.output.show([again], [("SENT", lambda row: row.id)])


@invites.command()
@click.argument("invite", metavar="INVITE")
@organization_option
@pass_session
def revoke(session: Session, invite: str, named: str | None) -> None:
    """End INVITE: its link works no more."""
    organization = session.organization(named)
    invite_id = _invite_id(session, organization, invite)
    session.personal().invites.revoke(organization, invite_id)
    session.output.show([{"id": invite_id}], [("REVOKED", lambda row: row["id"])])


@invites.command()
@click.argument("link", metavar="LINK")
@pass_session
def accept(session: Session, link: str) -> None:
    """Become a member by an invite that was mailed to you.

    LINK is that of the mail, or the token at its end.
    """
    joined = session.personal().invites.accept(link.rstrip("/").rpartition("/")[2])
    session.output.show(
        joined,
        [("organization", lambda found: found.slug), ("your role", lambda found: found.role)],
    )


def _date(_context: click.Context, parameter: click.Parameter, text: str | None) -> datetime | None:
    """A moment, in this machine's zone unless it names another."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not an ISO 8601 date", param=parameter) from None
    return found if found.tzinfo else found.astimezone(UTC)


@click.group(cls=Group)
def audit() -> None:
    """The audit log of an organization: list."""


@audit.command("list")
@click.option("--about", metavar="WORD", help="What actions begin with, such as member or key.")
@click.option("--by", metavar="MEMBER", help="Only what this member did: an address or an id.")
@click.option("--since", metavar="DATE", callback=_date, help="ISO 8601; nothing from before.")
@click.option("--until", metavar="DATE", callback=_date, help="ISO 8601; nothing from then on.")
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=50,
    show_default=True,
    metavar="COUNT",
    help="How many at most.",
)
@click.option("--csv", "is_csv", is_flag=True, help="Print CSV, for a spreadsheet.")
@organization_option
@pass_session
def list_entries(
    session: Session, /, named: str | None, limit: int, is_csv: bool, **asked: Any
) -> None:
    """List who changed what, newest first.

    --env narrows it to what was done in one environment of the project.

    \b
    holdfast audit list --about member --since 2026-11-01
    holdfast audit list --limit 5000 --csv
    """
    organization = session.organization(named)
    filters = _filters(session, organization, asked)
    pages = session.personal().audit.list(organization, size=min(limit, 100), **filters)
    found = list(itertools.islice(pages, limit))
    if is_csv:
        session.output.csv([_row(entry) for entry in found], _CSV)
    else:
        session.output.show(found, _ENTRIES)


def _filters(session: Session, organization: str, asked: dict[str, Any]) -> AuditFilters:
    filters: AuditFilters = {}
    if asked["about"]:
        filters["about"] = asked["about"]
    if asked["by"]:
        filters["user"] = _member_id(session, organization, asked["by"])
    if asked["since"]:
        filters["created_from"] = asked["since"]
    if asked["until"]:
        filters["created_to"] = asked["until"]
    if session.options.env:
        filters["environment"] = _environment_id(session)
    return filters


def _environment_id(session: Session) -> str:
    project, slug = session.require_project_ref(), session.options.env
    for environment in session.personal().environments.list(project):
        if environment.slug == slug:
            return environment.id
    raise CliError(f"{project} has no environment {slug!r} that you may see.", Exit.NOT_FOUND)


def _row(entry: AuditEntry) -> dict[str, Any]:
    return {
        "at": entry.at,
        "by": entry.actor.name,
        "kind": entry.actor.kind,
        "action": entry.action,
        "target": entry.target.type,
        "target_id": entry.target.id,
        "environment": entry.environment_id,
        "detail": json.dumps(dump(entry.detail), ensure_ascii=False),
    }


def _member_id(session: Session, organization: str, member: str) -> str:
    """The id of a member who is named by either; raises CliError."""
    if "@" not in member:
        return member
    for found in session.personal().members.list(organization):
        if found.email.lower() == member.lower():
            return found.id
    raise CliError(f"{organization} has no member {member}.", Exit.NOT_FOUND)


def _invite_id(session: Session, organization: str, invite: str) -> str:
    """The id of an invite that is named by either; raises CliError."""
    if "@" not in invite:
        return invite
    for found in session.personal().invites.list(organization):
        if found.email.lower() == invite.lower():
            return found.id
    raise CliError(f"{organization} has no open invite to {invite}.", Exit.NOT_FOUND)
