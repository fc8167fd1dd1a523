"""Secret keys: issued, replaced with a day of grace, revoked, sealed anew."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.db import transaction

from apps.core.crypto import digest, new_token, seal
from apps.core.errors import NotFound
from apps.environments import credentials, policy
from apps.environments.models import Environment, EnvironmentKey
from apps.environments.scope import Scope
from apps.environments.types import EnvironmentType
from apps.orgs.audit import record
from apps.orgs.permissions import Permission, require


def issue_key(environment: Environment, *, now: datetime) -> str:
    """Give an environment its key and return the secret; the caller holds its row or made it."""
    prefix = EnvironmentType(environment.type).key_prefix
    secret = new_token(prefix, length=policy.KEY_LENGTH)
    key = EnvironmentKey(
        environment=environment,
        digest=digest(secret),
        hint=f"{prefix}…{secret[-4:]}",
        created_at=now,
    )
    key.sealed = seal(secret, context=key.seal_context)
    key.save()
    return secret


@transaction.atomic
def regenerate_key(scope: Scope, *, now: datetime) -> str:
    """Replace the key and return the new secret; the old one works for another 24 hours.

    A branch has its parent's key, so it is the parent's that is replaced.
    """
    environment = _locked(scope)
    require_key_write(scope, environment)
    environment.keys.current().update(expires_at=now + policy.KEY_GRACE)
    secret = issue_key(environment, now=now)
    _record(scope, environment, "regenerated", now=now)
    transaction.on_commit(credentials.forget)
    return secret


@transaction.atomic
def revoke_old_keys(scope: Scope, *, now: datetime) -> int:
    """End at once the keys that are in their grace, as after a leak; return how many."""
    environment = _locked(scope)
    require_key_write(scope, environment)
    ended = environment.keys.usable(now).exclude(expires_at=None).update(revoked_at=now)
    if ended:
        _record(scope, environment, "revoked", now=now)
        transaction.on_commit(credentials.forget)
    return ended


def require_key_write(scope: Scope, environment: Environment) -> None:
    """Members replace the key of their own development environment; others need the permission."""
    actor = scope.actor
    if actor.kind == "user" and actor.id is not None and actor.id == environment.owner_id:
        require(actor, Permission.KEYS_READ)
    else:
        require(actor, Permission.KEYS_WRITE)


def _locked(scope: Scope) -> Environment:
    environment = Environment.objects.within(scope).first()
    if environment is None:
        raise NotFound
    return Environment.objects.select_for_update().get(pk=environment.key_environment_id)


def _record(scope: Scope, environment: Environment, what: str, *, now: datetime) -> None:
    target = ("environment", UUID(str(environment.id)))
    record(scope.organization, action=f"key.{what}", target=target, now=now)
