"""The staff acting as somebody, which every organization of that person finds in its log."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from apps.accounts.models import User
from apps.core.errors import Forbidden, Invalid
from apps.orgs.actors import Actor, OrganizationScope
from apps.orgs.audit import record
from apps.orgs.queries import list_organizations


def check_impersonation(staff: User, person: User) -> None:
    """Refuse unless this member of the staff may act as this person."""
    if not (staff.is_active and staff.is_superuser):
        raise Forbidden("Only superusers act as somebody else")
    if person.is_staff or person.is_superuser:
        raise Forbidden("Nobody acts as a member of the staff")
    if not person.is_active:
        raise Invalid("This person is not active")


@transaction.atomic
def begin_impersonation(staff: User, *, person: User, now: datetime) -> None:
    """Note that a member of the staff acts as somebody from now on."""
    check_impersonation(staff, person)
    _note(staff, person, "support.began", now=now)


@transaction.atomic
def end_impersonation(staff: User, *, person: User, now: datetime) -> None:
    """Note that they act as themselves again."""
    _note(staff, person, "support.ended", now=now)


def _note(staff: User, person: User, action: str, *, now: datetime) -> None:
    for organization in list_organizations(person):
        scope = OrganizationScope(
            actor=Actor(kind="user", id=staff.pk), organization_id=organization.id
        )
        detail = {"as": person.email, "by": staff.email}
        record(scope, action=action, target=("user", person.pk), detail=detail, now=now)
