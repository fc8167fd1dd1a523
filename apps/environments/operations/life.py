"""How environments come, are paused, and go."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.db import transaction

from apps.accounts.models import User
from apps.accounts.operations.people import rename_person
from apps.core.errors import Invalid, NotFound
from apps.core.facts import publish
from apps.environments import credentials, policy
from apps.environments.facts import (
    EnvironmentArchived,
    EnvironmentLimitsChanged,
    EnvironmentPaused,
    EnvironmentResumed,
)
from apps.environments.models import Environment
from apps.environments.operations.keys import issue_key
from apps.environments.scope import Scope
from apps.environments.types import EnvironmentType
from apps.orgs.actors import OrganizationScope
from apps.orgs.audit import record
from apps.orgs.models import Membership
from apps.orgs.operations.organizations import create_organization
from apps.orgs.permissions import Permission, require
from apps.orgs.policy import check_weight
from apps.orgs.queries import organization_scope
from apps.projects.models import Project
from apps.projects.operations import create_project

_CHANGES = {
    "concurrency_limit": "environment.limit_changed",
    "weight": "environment.weight_changed",
}
_STANDARD = (EnvironmentType.PRODUCTION, EnvironmentType.STAGING, EnvironmentType.PREVIEW)


@transaction.atomic
def start_project(scope: OrganizationScope, *, name: str, now: datetime) -> Project:
    """Create a project with its standard environments and their keys."""
    project = create_project(scope, name=name, now=now)
    for kind in _STANDARD:
        environment = Environment.objects.create(
            organization_id=project.organization_id,
            project=project,
            type=kind,
            slug=kind.slug,
            name=kind.value.capitalize(),
            created_at=now,
        )
        issue_key(environment, now=now)
    return project


@transaction.atomic
def found_organization(
    user: User, *, name: str, project_name: str, person_name: str = "", now: datetime
) -> Project:
    """Make an organization with its first project for somebody, whom it may also name."""
    if person_name:
        rename_person(user, name=person_name)
    made = create_organization(user_id=user.pk, name=name, now=now)
    return start_project(organization_scope(user, made.id), name=project_name, now=now)


@transaction.atomic
def ensure_development(scope: OrganizationScope, *, project_id: UUID, now: datetime) -> Environment:
    """The acting member's own development environment, made when first asked for."""
    user_id = scope.actor.id
    if scope.actor.kind != "user" or user_id is None:
        raise NotFound("A development environment belongs to a person")
    own = Environment.objects.filter(
        organization_id=scope.organization_id, project_id=project_id, owner_id=user_id, parent=None
    )
    if found := own.first():
        return found
    require(scope.actor, Permission.RUNS_TRIGGER)
    # Two first requests at once make one environment: the second waits for the membership's row.
    Membership.objects.within(scope).select_for_update().get(user_id=user_id)
    return own.first() or _create_development(scope, project_id, user_id, now=now)


@transaction.atomic
def upsert_branch(scope: Scope, *, branch: str, now: datetime) -> Environment:
    """The child of this environment for a branch, made when it is new."""
    require(scope.actor, Permission.BRANCHES_WRITE)
    branch = policy.clean_branch(branch)
    parent = _branchable(_locked(scope))
    active = parent.branches.filter(archived_at=None)
    if found := active.filter(branch=branch).first():
        return found
    if active.count() >= policy.BRANCHES_PER_ENVIRONMENT:
        raise Invalid(
            f"There are {policy.BRANCHES_PER_ENVIRONMENT} active branches: archive some first"
        )
    child = Environment.objects.create(
        organization_id=parent.organization_id,
        project_id=parent.project_id,
        type=parent.type,
        slug=parent.slug,
        name=branch,
        owner_id=parent.owner_id,
        parent=parent,
        branch=branch,
        concurrency_limit=parent.concurrency_limit,
        burst_factor=parent.burst_factor,
        weight=parent.weight,
        created_at=now,
    )
    _record(scope, child, "branch.created", now=now)
    return child


@transaction.atomic
def archive_branch(scope: Scope, *, branch: str, now: datetime) -> Environment:
    """Put a branch away: it takes no more requests, its history stays; its name becomes free."""
    require(scope.actor, Permission.BRANCHES_WRITE)
    parent = _branchable(_locked(scope))
    found = parent.branches.filter(archived_at=None, branch=policy.clean_branch(branch))
    child = found.first()
    if child is None:
        raise NotFound(f"There is no active branch {branch!r}")
    child.archived_at = now
    child.save(update_fields=["archived_at"])
    _record(scope, child, "branch.archived", now=now)
    publish(EnvironmentArchived(environment_id=child.id, at=now))
    transaction.on_commit(credentials.forget)
    return child


@transaction.atomic
def pause_environment(scope: Scope, *, now: datetime) -> Environment:
    """Start no more runs here; what executes goes on. Once more changes nothing."""
    require(scope.actor, Permission.ENVIRONMENTS_WRITE)
    environment = _locked(scope)
    if environment.paused_at is None:
        environment.paused_at = now
        environment.save(update_fields=["paused_at"])
        _record(scope, environment, "environment.paused", now=now)
        publish(EnvironmentPaused(environment_id=environment.id, at=now))
    return environment


@transaction.atomic
def resume_environment(scope: Scope, *, now: datetime) -> Environment:
    """Let runs start again. Once more changes nothing."""
    require(scope.actor, Permission.ENVIRONMENTS_WRITE)
    environment = _locked(scope)
    if environment.paused_at is not None:
        environment.paused_at = None
        environment.save(update_fields=["paused_at"])
        _record(scope, environment, "environment.resumed", now=now)
        publish(EnvironmentResumed(environment_id=environment.id, at=now))
    return environment


@transaction.atomic
def change_limits(
    scope: Scope,
    *,
    concurrency_limit: int | None = None,
    weight: float | None = None,
    now: datetime,
) -> Environment:
    """Say how many runs this environment executes at once, and what its share is beside others.

    None leaves what is. Raises Invalid.
    """
    require(scope.actor, Permission.ENVIRONMENTS_WRITE)
    if concurrency_limit is not None:
        policy.check_concurrency(concurrency_limit)
    if weight is not None:
        check_weight(weight)
    environment = _locked(scope)
    if _changed(scope, environment, "concurrency_limit", concurrency_limit, now=now):
        publish(EnvironmentLimitsChanged(environment_id=environment.id, at=now))
    _changed(scope, environment, "weight", weight, now=now)
    return environment


def _changed(
    scope: Scope, environment: Environment, name: str, value: float | None, *, now: datetime
) -> bool:
    before = getattr(environment, name)
    if value is None or value == before:
        return False
    setattr(environment, name, value)
    environment.save(update_fields=[name])
    record(
        scope.organization,
        action=_CHANGES[name],
        target=("environment", environment.id),
        detail={"before": before, "after": value},
        now=now,
    )
    return True


def _create_development(
    scope: OrganizationScope, project_id: UUID, user_id: UUID, *, now: datetime
) -> Environment:
    project = Project.objects.within(scope).active().filter(pk=project_id).first()
    if project is None:
        raise NotFound("Project not found")
    kind = EnvironmentType.DEVELOPMENT
    environment = Environment.objects.create(
        organization_id=scope.organization_id,
        project=project,
        type=kind,
        slug=kind.slug,
        name=kind.value.capitalize(),
        owner_id=user_id,
        created_at=now,
    )
    issue_key(environment, now=now)
    target = ("environment", environment.id)
    record(scope, action="environment.created", target=target, now=now)
    return environment


def _locked(scope: Scope) -> Environment:
    environment = Environment.objects.within(scope).select_for_update().first()
    if environment is None:
        raise NotFound
    return environment


def _branchable(environment: Environment) -> Environment:
    kinds = (EnvironmentType.PREVIEW, EnvironmentType.DEVELOPMENT)
    if environment.parent_id is not None or environment.type not in kinds:
        raise Invalid("Only preview and development environments have branches")
    return environment


def _record(scope: Scope, environment: Environment, action: str, *, now: datetime) -> None:
    target = ("environment", environment.id)
    detail = {"branch": environment.branch} if environment.branch else {}
    record(scope.organization, action=action, target=target, detail=detail, now=now)
