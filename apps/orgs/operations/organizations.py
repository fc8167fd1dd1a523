"""The life of an organization."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.db import transaction

from apps.core.crypto import new_token
from apps.orgs import policy
from apps.orgs.actors import Actor, OrganizationScope
from apps.orgs.audit import record
from apps.orgs.models import Membership, Organization
from apps.orgs.permissions import Permission, require
from apps.orgs.roles import Role


@transaction.atomic
def create_organization(*, user_id: UUID, name: str, now: datetime) -> Organization:
    """Found an organization; the person who does is its owner."""
    name = policy.clean_name(name)
    made = Organization.objects.create(name=name, slug=_free_slug(name), created_at=now)
    Membership.objects.create(organization=made, user_id=user_id, role=Role.OWNER, created_at=now)
    actor = Actor(kind="user", id=user_id, role=Role.OWNER)
    scope = OrganizationScope(actor=actor, organization_id=made.id)
    record(
        scope,
        action="organization.created",
        target=("organization", made.id),
        detail={"name": name},
        now=now,
    )
    return made


@transaction.atomic
def rename_organization(scope: OrganizationScope, *, name: str, now: datetime) -> Organization:
    """Change the name; the slug stays, so that links keep working."""
    require(scope.actor, Permission.ORGANIZATION_WRITE)
    organization = Organization.objects.select_for_update().get(pk=scope.organization_id)
    before, organization.name = organization.name, policy.clean_name(name)
    organization.save(update_fields=["name"])
    record(
        scope,
        action="organization.renamed",
        target=("organization", organization.id),
        detail={"before": before, "after": organization.name},
        now=now,
    )
    return organization


def _free_slug(name: str) -> str:
    plain = policy.slug_of(name, suffix="")
    if plain != "unnamed" and not Organization.objects.filter(slug=plain).exists():
        return plain
    return policy.slug_of(name, suffix=new_token("", length=6).lower())
