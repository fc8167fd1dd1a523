"""Rules of organizations that need neither database nor clock."""

from __future__ import annotations

from datetime import timedelta

from django.utils.text import slugify

from apps.accounts.policy import clean_email, label
from apps.core.errors import Forbidden, Invalid
from apps.orgs.actors import Actor
from apps.orgs.roles import Role

__all__ = ["clean_email"]  # an invite's address is kept as a person's is

INVITE_PREFIX = "tr_invite_"
INVITE_LIFETIME = timedelta(days=7)
NAME_LENGTH = 100
SLUG_LENGTH = 60
LEAST_WEIGHT = 0.001
MOST_WEIGHT = 1_000.0


def clean_name(name: str) -> str:
    """A name as it is kept; raises Invalid."""
    name = label(name)
    if not name:
        raise Invalid("A name is needed", detail={"name": ["empty"]})
    if len(name) > NAME_LENGTH:
        reason = f"longer than {NAME_LENGTH} characters"
        raise Invalid(f"The name is {reason}", detail={"name": [reason]})
    return name


def check_weight(weight: float) -> None:
    """Refuse what is no share beside others, such as NaN; raises Invalid."""
    if not LEAST_WEIGHT <= weight <= MOST_WEIGHT:
        reason = f"must be from {LEAST_WEIGHT} to {MOST_WEIGHT:,.0f}"
        raise Invalid(f"The weight {reason}", detail={"weight": [reason]})


def parse_role(role: str) -> Role:
    """The role of this name; raises Invalid."""
    try:
        return Role(role)
    except ValueError:
        known = ", ".join(Role)
        raise Invalid(
            f"{role!r} is not a role: use one of {known}", detail={"role": ["unknown"]}
        ) from None


def slug_of(name: str, *, suffix: str) -> str:
    """A slug for a name; `suffix` tells apart names that would have the same."""
    stem = slugify(name)[: SLUG_LENGTH - len(suffix) - 1].strip("-")
    return "-".join(part for part in (stem, suffix) if part) or "unnamed"


def check_rank(actor: Actor, *roles: str) -> None:
    """Refuse to give or take a role that is above the actor's own."""
    if actor.kind == "system":
        return
    own = actor.role.rank if actor.role else -1
    if any(Role(role).rank > own for role in roles):
        raise Forbidden("You cannot give or take a role above your own")
