"""What changes a project. A new one gets its environments in `apps.environments`."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.db import transaction

from apps.core.crypto import new_token
from apps.core.errors import NotFound
from apps.core.facts import publish
from apps.core.ids import public_id
from apps.orgs import policy
from apps.orgs.actors import OrganizationScope
from apps.orgs.audit import record
from apps.orgs.models import Organization
from apps.orgs.operations.organizations import close_organization
from apps.orgs.permissions import Permission, require
from apps.projects.facts import ProjectArchived
from apps.projects.models import Project


@transaction.atomic
def create_project(scope: OrganizationScope, *, name: str, now: datetime) -> Project:
    """Create a bare project; faces call `environments.operations.life.start_project`."""
    require(scope.actor, Permission.PROJECTS_WRITE)
    Organization.objects.select_for_update().get(pk=scope.organization_id)  # so slugs do not race
    name = policy.clean_name(name)
    project = Project(
        organization_id=scope.organization_id,
        name=name,
        slug=_free_slug(scope, name),
        created_at=now,
    )
    project.ref = public_id("proj", project.id)
    project.save()
    _record(scope, project, "created", {"name": name}, now=now)
    return project


@transaction.atomic
def rename_project(
    scope: OrganizationScope, *, project_id: UUID, name: str, now: datetime
) -> Project:
    """Change the name; ref and slug stay, so that links and configurations keep working."""
    require(scope.actor, Permission.PROJECTS_WRITE)
    project = _locked(scope, project_id)
    before, project.name = project.name, policy.clean_name(name)
    project.save(update_fields=["name"])
    _record(scope, project, "renamed", {"before": before, "after": project.name}, now=now)
    return project


@transaction.atomic
def archive_project(scope: OrganizationScope, *, project_id: UUID, now: datetime) -> Project:
    """Put a project away: its keys stop working, its history stays; its slug becomes free."""
    require(scope.actor, Permission.PROJECTS_WRITE)
    project = _locked(scope, project_id)
    project.archived_at = now
    project.save(update_fields=["archived_at"])
    _record(scope, project, "archived", {"name": project.name}, now=now)
    publish(ProjectArchived(project_id=project.id, at=now))
    return project


@transaction.atomic
def delete_organization(scope: OrganizationScope, *, now: datetime) -> None:
    """Take an organization away from everybody, with all of its projects; only an owner may."""
    require(scope.actor, Permission.ORGANIZATION_DELETE)
    projects = Project.objects.within(scope).active()
    for project_id in projects.order_by("id").values_list("id", flat=True):
        archive_project(scope, project_id=project_id, now=now)
    close_organization(scope, now=now)


def _locked(scope: OrganizationScope, project_id: UUID) -> Project:
    projects = Project.objects.within(scope).active().select_for_update()
    project = projects.filter(pk=project_id).first()
    if project is None:
        raise NotFound
    return project


def _free_slug(scope: OrganizationScope, name: str) -> str:
    plain = policy.slug_of(name, suffix="")
    if not Project.objects.within(scope).active().filter(slug=plain).exists():
        return plain
    return policy.slug_of(name, suffix=new_token("", length=6).lower())


def _record(
    scope: OrganizationScope, project: Project, what: str, detail: dict[str, str], *, now: datetime
) -> None:
    target = ("project", project.id)
    record(scope, action=f"project.{what}", target=target, detail=detail, now=now)
