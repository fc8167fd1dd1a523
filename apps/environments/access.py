"""From a person and the names in a path to a Scope."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import F, Q

from apps.accounts.models import User
from apps.core.errors import NotFound
from apps.environments.models import Environment
from apps.environments.operations.life import ensure_development
from apps.environments.policy import is_branch
from apps.environments.scope import Scope
from apps.environments.types import EnvironmentType, is_slug
from apps.orgs.actors import Actor, OrganizationScope
from apps.orgs.queries import organization_scope, organization_scope_by_slug
from apps.orgs.roles import Role
from apps.projects.models import Project
from apps.projects.queries import find_project_of, get_project_by_slug


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a person is, in the words that pages and their addresses have for it."""

    scope: Scope
    organization_name: str
    organization_slug: str
    project_name: str
    project_slug: str
    project_ref: str
    environment_name: str
    environment_slug: str
    environment_type: EnvironmentType
    branch: str | None = None
    is_paused: bool = False


def scope_for_user(
    user: User, project_ref: str, env_slug: str, branch: str | None = None, *, now: datetime
) -> Scope:
    """A member inside an environment; `dev` is their own, made when first asked for.

    Raises NotFound when the project, the environment or the preview branch is not theirs.
    """
    project = find_project_of(user, project_ref)
    within = organization_scope(user, project.organization_id)
    environment = _environment(within, project, env_slug, now=now)
    if branch:
        environment = _child(environment, branch)
    return Scope(
        actor=within.actor,
        organization_id=project.organization_id,
        project_id=project.id,
        environment_id=environment.id,
    )


def place_of_user(
    user: User, organization: str, project: str, env: str, branch: str | None, *, now: datetime
) -> Place:
    """A member's place by the slugs of an address; NotFound when any part is not theirs.

    One query, but for the first visit to one's own development environment, which makes it.
    """
    if not is_slug(env) or not (organization + project).isascii() or "\0" in organization + project:
        raise NotFound
    found = _place(user, organization, project, env, branch)
    if found is None and env == EnvironmentType.DEVELOPMENT.slug and branch is None:
        within = organization_scope_by_slug(user, organization)
        ensure_development(within, project_id=get_project_by_slug(within, project).id, now=now)
        found = _place(user, organization, project, env, branch)
    if found is None:
        raise NotFound
    return found


def _place(
    user: User, organization: str, project: str, env: str, branch: str | None
) -> Place | None:
    if branch is not None and not is_branch(branch):
        return None
    environments = Environment.objects.active().filter(
        Q(owner=None) | Q(owner=user),
        organization__slug=organization,
        organization__memberships__user=user,
        project__slug=project,
        slug=env,
        branch=branch,
    )
    found = (
        environments.annotate(role=F("organization__memberships__role"))
        .select_related("organization", "project")
        .first()
    )
    if found is None:
        return None
    return Place(
        scope=Scope(
            actor=Actor(kind="user", id=user.pk, role=Role(vars(found)["role"])),
            organization_id=found.organization_id,
            project_id=found.project_id,
            environment_id=found.id,
        ),
        organization_name=found.organization.name,
        organization_slug=found.organization.slug,
        project_name=found.project.name,
        project_slug=found.project.slug,
        project_ref=found.project.ref,
        environment_name=found.name,
        environment_slug=found.slug,
        environment_type=EnvironmentType(found.type),
        branch=found.branch,
        is_paused=found.paused_at is not None,
    )


def _environment(
    within: OrganizationScope, project: Project, env_slug: str, *, now: datetime
) -> Environment:
    if env_slug == EnvironmentType.DEVELOPMENT.slug:
        return ensure_development(within, project_id=project.id, now=now)
    if not is_slug(env_slug):
        raise NotFound("There is no such environment: use dev, staging, prod or preview")
    return Environment.objects.standard().get(project=project, slug=env_slug)


def _child(environment: Environment, branch: str) -> Environment:
    branch = branch if is_branch(branch) else ""
    child = environment.branches.filter(branch=branch, archived_at=None).first()
    if child is None and environment.type == EnvironmentType.PREVIEW:
        raise NotFound(f"There is no active preview branch {branch!r}")
    # As with a key: an environment without branches takes the word for none.
    return child or environment
