"""What is seen of an environment: itself, its siblings, its key, its variables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Q

from apps.core.crypto import unseal
from apps.core.errors import NotFound
from apps.environments.models import Environment, EnvironmentKey, Variable
from apps.environments.policy import is_variable
from apps.environments.scope import Scope
from apps.orgs.actors import OrganizationScope
from apps.orgs.models import AuditEntry
from apps.orgs.permissions import Permission, require
from apps.orgs.queries import names_of_people


@dataclass(frozen=True, slots=True, kw_only=True)
class VisibleVariable:
    """A variable as it may be shown: a secret has no value."""

    name: str
    value: str | None
    is_secret: bool
    version: int
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class VisibleKey:
    """A key as it may be shown; the main one has no name, and does not expire until replaced."""

    id: UUID
    name: str
    hint: str
    created_at: datetime
    expires_at: datetime | None


def get_environment(scope: Scope) -> Environment:
    """The environment of this scope, with its project and organization."""
    require(scope.actor, Permission.ENVIRONMENTS_READ)
    environments = Environment.objects.within(scope)
    found = environments.select_related("project", "organization", "parent").first()
    if found is None:
        raise NotFound
    return found


def list_environments(scope: OrganizationScope, *, project_ref: str) -> list[Environment]:
    """The active environments of a project: the standard ones, then the actor's own."""
    require(scope.actor, Permission.ENVIRONMENTS_READ)
    shown = Environment.objects.active().filter(
        Q(owner=None) | Q(owner_id=scope.actor.id),
        organization_id=scope.organization_id,
        project__ref=project_ref,
        parent=None,
    )
    return list(shown.order_by("id"))


def list_branches(scope: Scope) -> list[Environment]:
    """The active branches of this environment, newest first."""
    require(scope.actor, Permission.ENVIRONMENTS_READ)
    children = Environment.objects.active().filter(
        parent_id=scope.environment_id, organization_id=scope.organization_id
    )
    return list(children.order_by("-id"))


def list_branches_of_project(scope: OrganizationScope, *, project_ref: str) -> list[Environment]:
    """The active branches of all environments of a project that the actor may see, newest first."""
    require(scope.actor, Permission.ENVIRONMENTS_READ)
    shown = Environment.objects.active().filter(
        Q(owner=None) | Q(owner_id=scope.actor.id),
        organization_id=scope.organization_id,
        project__ref=project_ref,
        parent__isnull=False,
    )
    return list(shown.order_by("-id"))


def current_key(scope: Scope) -> str:
    """The secret key of this environment in clear: its parent's, for a branch."""
    require(scope.actor, Permission.KEYS_READ)
    environment = get_environment(scope)
    key = EnvironmentKey.objects.current().get(environment_id=environment.key_environment_id)
    return unseal(key.sealed, context=key.seal_context)


def list_keys(scope: Scope, *, now: datetime) -> list[VisibleKey]:
    """The keys that open this environment: the main one, replaced ones in grace, then the named."""
    require(scope.actor, Permission.KEYS_READ)
    environment = get_environment(scope)
    keys = EnvironmentKey.objects.usable(now).filter(environment_id=environment.key_environment_id)
    return [
        VisibleKey(
            id=key.id,
            name=key.name,
            hint=key.hint,
            created_at=key.created_at,
            expires_at=key.expires_at,
        )
        for key in sorted(keys.order_by("-id"), key=lambda key: bool(key.name))
    ]


def hints_of_keys(scope: OrganizationScope, ids: Iterable[UUID]) -> dict[UUID, str]:
    """What may be shown of keys of an organization, for its audit log."""
    require(scope.actor, Permission.AUDIT_READ)
    keys = EnvironmentKey.objects.filter(
        pk__in=list(ids), environment__organization_id=scope.organization_id
    )
    return {key.id: key.name or key.hint for key in keys}


def names_of_actors(scope: OrganizationScope, entries: Iterable[AuditEntry]) -> dict[UUID, str]:
    """What those are called who caused changes: people by name, keys by what may be shown."""
    ids: dict[str, set[UUID]] = {"user": set(), "key": set()}
    for entry in entries:
        if entry.actor_id is not None and entry.actor_kind in ids:
            ids[entry.actor_kind].add(entry.actor_id)
    return {**names_of_people(ids["user"]), **hints_of_keys(scope, ids["key"])}


def list_variables(scope: Scope) -> list[VisibleVariable]:
    """This environment's own variables by name; secrets are redacted."""
    require(scope.actor, Permission.VARIABLES_READ)
    variables = Variable.objects.filter(
        environment_id=scope.environment_id, environment__organization_id=scope.organization_id
    )
    return [_visible(variable) for variable in variables.order_by("name")]


def get_variable(scope: Scope, name: str) -> VisibleVariable:
    """One of this environment's own variables; NotFound."""
    require(scope.actor, Permission.VARIABLES_READ)
    if not is_variable(name):
        raise NotFound("There is no such variable")
    variable = Variable.objects.filter(
        environment_id=scope.environment_id,
        environment__organization_id=scope.organization_id,
        name=name,
    ).first()
    if variable is None:
        raise NotFound(f"There is no variable {name}")
    return _visible(variable)


def runtime_variables(environment: Environment) -> dict[str, str]:
    """Everything in clear, for a worker of this environment; a branch has its parent's below."""
    rows = Variable.objects.filter(
        environment_id__in={environment.key_environment_id, environment.id}
    )
    # The parent's first, so that the branch's own win.
    ordered = sorted(rows, key=lambda variable: variable.environment_id == environment.id)
    return {row.name: unseal(row.sealed, context=row.seal_context) for row in ordered}


def _visible(variable: Variable) -> VisibleVariable:
    hidden = variable.is_secret
    return VisibleVariable(
        name=variable.name,
        value=None if hidden else unseal(variable.sealed, context=variable.seal_context),
        is_secret=variable.is_secret,
        version=variable.version,
        updated_at=variable.updated_at,
    )
