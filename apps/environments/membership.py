"""From a person and the id of an environment to a Scope, for what has no names in its path."""

from __future__ import annotations

from uuid import UUID

from django.db.models import F, Q

from apps.accounts.models import User
from apps.core.errors import NotFound
from apps.environments.models import Environment
from apps.environments.scope import Scope
from apps.orgs.actors import Actor
from apps.orgs.roles import Role


def scope_of_member(user: User, environment_id: UUID) -> Scope:
    """A member inside this environment; NotFound when it is not theirs, or archived."""
    environments = Environment.objects.active().filter(
        Q(owner=None) | Q(owner=user), pk=environment_id, organization__memberships__user=user
    )
    found = environments.values(
        "id", "organization_id", "project_id", role=F("organization__memberships__role")
    ).first()
    if found is None:
        raise NotFound
    return Scope(
        actor=Actor(kind="user", id=user.pk, role=Role(found["role"])),
        organization_id=found["organization_id"],
        project_id=found["project_id"],
        environment_id=found["id"],
    )
