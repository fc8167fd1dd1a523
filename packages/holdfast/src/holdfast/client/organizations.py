"""Organizations that one is a member of, and their projects."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from holdfast._http import AsyncTransport, Flow, SyncTransport
from holdfast.client.personal import PersonalGroup, path
from holdfast.client.results import Result
from holdfast.client.surface import operation

Transport = TypeVar("Transport", bound=AsyncTransport | SyncTransport)


@dataclass(frozen=True, slots=True, kw_only=True)
class Organization(Result):
    """An organization; paths and `organization=` know it by its `slug`.

    Attributes:
        id: Its id, ``org_…``.
        title: What it is called.
        slug: What it is called in addresses; it never changes.
        created_at: When it was founded.
        role: The caller's own role, where one organization was asked for.
    """

    id: str
    title: str
    slug: str
    created_at: datetime
    role: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Project(Result):
    """A project; everything else knows it by its `external_ref`, ``proj_…``."""

    id: str
    external_ref: str
    name: str
    slug: str
    created_at: datetime
    organization: Organization


class Organizations(PersonalGroup[Transport]):
    """``client.organizations``: all of it needs a personal access token."""

    @operation
    def retrieve(self, organization: str) -> Flow[Organization]:
        """One organization, with one's own role in it.

        Raises:
            NotFoundError: There is none of this slug that one is a member of.
        """
        return self._ask(Organization, "GET", path("orgs", organization))

    @operation
    def create(self, title: str, *, project_name: str = "My project") -> Flow[Project]:
        """Found an organization; whoever does is its owner.

        Returns:
            Its first project, which names the organization.
        """
        body = {"title": title, "projectName": project_name}
        return self._ask(Project, "POST", path("orgs"), body)

    @operation
    def rename(self, organization: str, title: str) -> Flow[Organization]:
        """Change what an organization is called; its slug stays."""
        return self._ask(Organization, "PATCH", path("orgs", organization), {"title": title})

    @operation
    def leave(self, organization: str) -> Flow[None]:
        """End one's own membership.

        Raises:
            ConflictError: One is the last owner.
        """
        return self._tell("DELETE", path("orgs", organization, "membership"))

    @operation
    def delete(self, organization: str) -> Flow[None]:
        """Take an organization away from everybody, with all of its projects; owners may."""
        return self._tell("DELETE", path("orgs", organization))

    @operation
    def list(self) -> Flow[list[Organization]]:
        """The organizations that one is a member of, by name."""
        return self._ask(list[Organization], "GET", path("orgs"))


class Projects(PersonalGroup[Transport]):
    """``client.projects``: `project` is a ref, ``proj_…``."""

    @operation
    def retrieve(self, project: str) -> Flow[Project]:
        """One project, with its organization."""
        return self._ask(Project, "GET", path("projects", project))

    @operation
    def create(self, organization: str, name: str) -> Flow[Project]:
        """Start a project, with its environments and a key for each."""
        return self._ask(Project, "POST", path("orgs", organization, "projects"), {"name": name})

    @operation
    def rename(self, project: str, name: str) -> Flow[Project]:
        """Change what a project is called; its ref and its slug stay."""
        return self._ask(Project, "PATCH", path("projects", project), {"name": name})

    @operation
    def delete(self, project: str) -> Flow[None]:
        """Put a project away: its keys stop working, its history stays."""
        return self._tell("DELETE", path("projects", project))

    @operation
    def list(self, *, organization: str | None = None) -> Flow[list[Project]]:
        """The projects of one organization, or of all that one is a member of, by name."""
        where = path("projects") if organization is None else path("orgs", organization, "projects")
        return self._ask(list[Project], "GET", where)
