"""The life of an organization."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.db import transaction

from apps.core.crypto import new_token
from apps.core.facts import publish
from apps.orgs import policy
from apps.orgs.actors import Actor, OrganizationScope
from apps.orgs.audit import record
from apps.orgs.facts import OrganizationDeleted
from apps.orgs.models import Invite, Membership, Organization
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


@transaction.atomic
def close_organization(scope: OrganizationScope, *, now: datetime) -> Organization:
    """Take an organization away from everybody; faces call `projects.delete_organization`.

    Its rows stay, so that the history of runs does; its slug becomes free.
    """
    require(scope.actor, Permission.ORGANIZATION_DELETE)
    organization = Organization.objects.select_for_update().get(pk=scope.organization_id)
    detail = {"name": organization.name, "slug": organization.slug}
    target = ("organization", organization.id)
    record(scope, action="organization.deleted", target=target, detail=detail, now=now)
    organization.slug = policy.slug_of(
        organization.slug[:40], suffix=new_token("", length=8).lower()
    )
    organization.deleted_at = now
    organization.save(update_fields=["slug", "deleted_at"])
    Invite.objects.within(scope).pending().update(revoked_at=now)
    publish(OrganizationDeleted(organization_id=organization.id, at=now))
    return organization


def _free_slug(name: str) -> str:
    plain = policy.slug_of(name, suffix="")
    if plain != "unnamed" and not Organization.objects.filter(slug=plain).exists():
        return plain
    return policy.slug_of(name, suffix=new_token("", length=6).lower())
