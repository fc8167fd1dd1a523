"""Organizations and projects from the terminal."""

from __future__ import annotations

from typing import Any

import click

from holdfast.cli.output import Column, age
from holdfast.cli.session import Session, pass_session
from holdfast.cli.tree import Group

_ORGANIZATIONS: list[Column] = [
    ("ORGANIZATION", lambda found: found.slug),
    ("TITLE", lambda found: found.title),
    ("CREATED", lambda found: age(found.created_at)),
]
_ORGANIZATION: list[Column] = [
    ("organization", lambda found: found.slug),
    ("title", lambda found: found.title),
    ("id", lambda found: found.id),
    ("your role", lambda found: found.role),
    ("created", lambda found: found.created_at),
]
_PROJECTS: list[Column] = [
    ("PROJECT", lambda found: found.external_ref),
    ("NAME", lambda found: found.name),
    ("ORGANIZATION", lambda found: found.organization.slug),
    ("CREATED", lambda found: age(found.created_at)),
]
_PROJECT: list[Column] = [
    ("project", lambda found: found.external_ref),
    ("name", lambda found: found.name),
    ("slug", lambda found: found.slug),
    ("organization", lambda found: found.organization.slug),
    ("created", lambda found: found.created_at),
]


def organization_option(command: Any) -> Any:
    """The option that says which organization is meant."""
    return click.option(
        "--org",
        "named",
        metavar="SLUG",
        help="The organization; else that of the project, or the only one.",
    )(command)


def yes_option(command: Any) -> Any:
    """The option of those who are sure."""
    return click.option("--yes", "is_sure", is_flag=True, help="Do not ask.")(command)


@click.group(cls=Group)
def orgs() -> None:
    """Organizations: list, show, create, rename, leave, delete.

    ORG is the slug of an organization.
    """


@orgs.command("list")
@pass_session
def list_organizations(session: Session) -> None:
    """List the organizations that you are a member of."""
    session.output.show(session.personal().organizations.list(), _ORGANIZATIONS)


@orgs.command("show")
@click.argument("org", metavar="ORG")
@pass_session
def show_organization(session: Session, org: str) -> None:
    """Show ORG, and your role in it."""
    session.output.show(session.personal().organizations.retrieve(org), _ORGANIZATION)


@orgs.command("create")
@click.argument("title", metavar="TITLE")
@click.option(
    "--project-name",
    metavar="NAME",
    default="My project",
    show_default=True,
    help="What its first project is called.",
)
@pass_session
def create_organization(session: Session, title: str, project_name: str) -> None:
    """Found an organization, which you own, with its first project."""
    made = session.personal().organizations.create(title, project_name=project_name)
    session.output.show(made, _PROJECT)


@orgs.command("rename")
@click.argument("org", metavar="ORG")
@click.argument("title", metavar="TITLE")
@pass_session
def rename_organization(session: Session, org: str, title: str) -> None:
    """Change what ORG is called; its slug stays."""
    session.output.show(session.personal().organizations.rename(org, title), _ORGANIZATION)


@orgs.command()
@click.argument("org", metavar="ORG")
@yes_option
@pass_session
def leave(session: Session, org: str, is_sure: bool) -> None:
    """Leave ORG.

    Its last owner cannot; somebody has to invite you to come back.
    """
    session.confirm(f"You leave {org}, and your development keys stop working.", is_sure=is_sure)
    session.personal().organizations.leave(org)
    session.output.show([{"slug": org}], [("LEFT", lambda row: row["slug"])])


@orgs.command("delete")
@click.argument("org", metavar="ORG")
@yes_option
@pass_session
def delete_organization(session: Session, org: str, is_sure: bool) -> None:
    """Take ORG away from everybody, with all of its projects."""
    question = f"{org} and its projects are gone for everybody, and their keys stop working."
    session.confirm(question, is_sure=is_sure)
    session.personal().organizations.delete(org)
    session.output.show([{"slug": org}], [("DELETED", lambda row: row["slug"])])


@click.group(cls=Group)
def projects() -> None:
    """Projects: list, show, create, rename, delete.

    The project is that of --project, or of the nearest holdfast.toml.
    """


@projects.command("list")
@click.option("--org", "named", metavar="SLUG", help="Only those of this organization.")
@pass_session
def list_projects(session: Session, named: str | None) -> None:
    """List the projects that you can see."""
    session.output.show(session.personal().projects.list(organization=named), _PROJECTS)


@projects.command("show")
@pass_session
def show_project(session: Session) -> None:
    """Show a project."""
    ref = session.require_project_ref()
    session.output.show(session.personal().projects.retrieve(ref), _PROJECT)


@projects.command("create")
@click.argument("name", metavar="NAME")
@organization_option
@pass_session
def create_project(session: Session, name: str, named: str | None) -> None:
    """Start a project, with its environments and a key for each.

    \b
    holdfast projects create Warehouse --org acme
    """
    organization = session.organization(named)
    session.output.show(session.personal().projects.create(organization, name), _PROJECT)


@projects.command("rename")
@click.argument("name", metavar="NAME")
@pass_session
def rename_project(session: Session, name: str) -> None:
    """Call a project NAME; its ref and its slug stay."""
    ref = session.require_project_ref()
    session.output.show(session.personal().projects.rename(ref, name), _PROJECT)


@projects.command("delete")
@yes_option
@pass_session
def delete_project(session: Session, is_sure: bool) -> None:
    """Put a project away: its keys stop working, its history stays."""
    ref = session.require_project_ref()
    session.confirm(f"{ref} goes away, and its keys stop working.", is_sure=is_sure)
    session.personal().projects.delete(ref)
    session.output.show([{"externalRef": ref}], [("DELETED", lambda row: row["externalRef"])])
