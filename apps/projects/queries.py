"""What members see of their projects."""

from __future__ import annotations

from apps.accounts.models import User
from apps.core.errors import NotFound
from apps.core.ids import parse_public_id
from apps.orgs.actors import OrganizationScope
from apps.orgs.permissions import Permission, require
from apps.projects.models import Project, ProjectQuerySet


def get_project(scope: OrganizationScope, ref: str) -> Project:
    """The project of this ref; NotFound when it is another organization's or archived."""
    require(scope.actor, Permission.PROJECTS_READ)
    return _get(Project.objects.within(scope), ref)


def get_project_by_slug(scope: OrganizationScope, slug: str) -> Project:
    """The active project of this slug; NotFound."""
    require(scope.actor, Permission.PROJECTS_READ)
    project = Project.objects.within(scope).active().filter(slug=slug).first()
    if project is None:
        raise NotFound("Project not found")
    return project


def list_projects(scope: OrganizationScope) -> list[Project]:
    """The projects of an organization, by name."""
    require(scope.actor, Permission.PROJECTS_READ)
    projects = Project.objects.within(scope).active().select_related("organization")
    return list(projects.order_by("name", "id"))


def list_projects_of(user: User) -> list[Project]:
    """The projects of every organization a person is a member of, with the organizations."""
    mine = Project.objects.active().filter(organization__memberships__user=user)
    return list(mine.select_related("organization").order_by("organization__name", "name", "id"))


def find_project_of(user: User, ref: str) -> Project:
    """The project of this ref in any organization of a person; NotFound when not theirs."""
    return _get(Project.objects.filter(organization__memberships__user=user), ref)


def _get(projects: ProjectQuerySet, ref: str) -> Project:
    parse_public_id("proj", ref)  # so that no odd character reaches the database
    project = projects.active().filter(ref=ref).select_related("organization").first()
    if project is None:
        raise NotFound("Project not found")
    return project
