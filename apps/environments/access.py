"""From a person and the names in a path to a Scope."""

from __future__ import annotations

from datetime import datetime

from apps.accounts.models import User
from apps.core.errors import NotFound
from apps.environments.models import Environment
from apps.environments.operations.life import ensure_development
from apps.environments.policy import is_branch
from apps.environments.scope import Scope
from apps.environments.types import EnvironmentType, is_slug
from apps.orgs.actors import OrganizationScope
from apps.orgs.queries import organization_scope
from apps.projects.models import Project
from apps.projects.queries import find_project_of


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
