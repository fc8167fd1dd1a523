"""Who may do what: one frozen table, and `require`, which every operation asks.

A person may do what `GRANTS` gives their role. An environment's key may do `KEY_GRANTS` in the
environment it opens, and nothing about people, keys or other environments. A public token may do
what its scopes say; its face also holds it to the ids that they name.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from apps.core.errors import Forbidden
from apps.orgs.actors import Actor
from apps.orgs.roles import Role


class Permission(StrEnum):
    ORGANIZATION_WRITE = "organization:write"
    ORGANIZATION_DELETE = "organization:delete"
    MEMBERS_READ = "members:read"
    MEMBERS_WRITE = "members:write"
    AUDIT_READ = "audit:read"
    PROJECTS_READ = "projects:read"
    PROJECTS_WRITE = "projects:write"
    ENVIRONMENTS_READ = "environments:read"
    ENVIRONMENTS_WRITE = "environments:write"
    BRANCHES_WRITE = "branches:write"
    KEYS_READ = "keys:read"
    KEYS_WRITE = "keys:write"
    VARIABLES_READ = "variables:read"
    VARIABLES_WRITE = "variables:write"
    DEPLOYMENTS_READ = "deployments:read"
    DEPLOYMENTS_WRITE = "deployments:write"
    QUEUES_READ = "queues:read"
    QUEUES_WRITE = "queues:write"
    SCHEDULES_READ = "schedules:read"
    SCHEDULES_WRITE = "schedules:write"
    RUNS_READ = "runs:read"
    RUNS_TRIGGER = "runs:trigger"
    RUNS_WRITE = "runs:write"
    WAITPOINTS_WRITE = "waitpoints:write"


_OWNER = frozenset({Role.OWNER})
_ADMINS = _OWNER | {Role.ADMIN}
_DEVELOPERS = _ADMINS | {Role.DEVELOPER}
_EVERYBODY = _DEVELOPERS | {Role.VIEWER}

GRANTS: Mapping[Permission, frozenset[Role]] = MappingProxyType(
    {
        Permission.ORGANIZATION_WRITE: _ADMINS,
        Permission.ORGANIZATION_DELETE: _OWNER,
        Permission.MEMBERS_READ: _EVERYBODY,
        Permission.MEMBERS_WRITE: _ADMINS,
        Permission.AUDIT_READ: _ADMINS,
        Permission.PROJECTS_READ: _EVERYBODY,
        Permission.PROJECTS_WRITE: _ADMINS,
        Permission.ENVIRONMENTS_READ: _EVERYBODY,
        Permission.ENVIRONMENTS_WRITE: _DEVELOPERS,
        Permission.BRANCHES_WRITE: _DEVELOPERS,
        Permission.KEYS_READ: _DEVELOPERS,
        Permission.KEYS_WRITE: _ADMINS,
        Permission.VARIABLES_READ: _DEVELOPERS,
        Permission.VARIABLES_WRITE: _DEVELOPERS,
        Permission.DEPLOYMENTS_READ: _EVERYBODY,
        Permission.DEPLOYMENTS_WRITE: _DEVELOPERS,
        Permission.QUEUES_READ: _EVERYBODY,
        Permission.QUEUES_WRITE: _DEVELOPERS,
        Permission.SCHEDULES_READ: _EVERYBODY,
        Permission.SCHEDULES_WRITE: _DEVELOPERS,
        Permission.RUNS_READ: _EVERYBODY,
        Permission.RUNS_TRIGGER: _DEVELOPERS,
        Permission.RUNS_WRITE: _DEVELOPERS,
        Permission.WAITPOINTS_WRITE: _DEVELOPERS,
    }
)

KEY_GRANTS: frozenset[Permission] = frozenset(
    {
        Permission.ENVIRONMENTS_READ,
        Permission.BRANCHES_WRITE,
        Permission.VARIABLES_READ,
        Permission.VARIABLES_WRITE,
        Permission.DEPLOYMENTS_READ,
        Permission.DEPLOYMENTS_WRITE,
        Permission.QUEUES_READ,
        Permission.QUEUES_WRITE,
        Permission.SCHEDULES_READ,
        Permission.SCHEDULES_WRITE,
        Permission.RUNS_READ,
        Permission.RUNS_TRIGGER,
        Permission.RUNS_WRITE,
        Permission.WAITPOINTS_WRITE,
    }
)

# What a public token may be asked for at all, and the actions of its scopes that mean it.
PUBLIC_ACTIONS: Mapping[Permission, frozenset[str]] = MappingProxyType(
    {
        Permission.DEPLOYMENTS_READ: frozenset({"read"}),
        Permission.QUEUES_READ: frozenset({"read"}),
        Permission.RUNS_READ: frozenset({"read"}),
        Permission.RUNS_TRIGGER: frozenset({"trigger", "batchTrigger", "write"}),
        Permission.RUNS_WRITE: frozenset({"write"}),
        Permission.WAITPOINTS_WRITE: frozenset({"write"}),
    }
)


def allows(actor: Actor, permission: Permission) -> bool:
    """Whether `actor` may do this."""
    if actor.kind == "system":
        return True
    if actor.kind == "key":
        return permission in KEY_GRANTS
    if actor.kind == "public_token":
        return _scopes_allow(actor.scopes, permission)
    return actor.role in GRANTS[permission]


def require(actor: Actor, permission: Permission) -> None:
    """Refuse with Forbidden unless `actor` may do this."""
    if not allows(actor, permission):
        who = f"role {actor.role}" if actor.role else "credential"
        raise Forbidden(
            f"This needs the permission {permission}, which your {who} does not have",
            detail={"permission": permission.value},
        )


def _scopes_allow(scopes: tuple[str, ...], permission: Permission) -> bool:
    meant = PUBLIC_ACTIONS.get(permission)
    if meant is None:
        return False
    actions = {scope.partition(":")[0] for scope in scopes}
    return not actions.isdisjoint(meant | {"admin", "*"})
