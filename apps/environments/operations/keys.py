"""Secret keys: issued, replaced with a day of grace, revoked, sealed anew."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import transaction

from apps.accounts.policy import label
from apps.core.crypto import digest, new_token, seal
from apps.core.errors import Invalid, NotFound
from apps.environments import credentials, policy
from apps.environments.models import Environment, EnvironmentKey
from apps.environments.scope import Scope
from apps.environments.types import EnvironmentType
from apps.orgs.audit import record
from apps.orgs.permissions import Permission, allows, require


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedKey:
    """A new key; the secret of one with a name is shown now and never again."""

    key_id: UUID
    secret: str
    hint: str


def issue_key(environment: Environment, *, now: datetime) -> str:
    """Give an environment its key and return the secret; the caller holds its row or made it."""
    return _issue(environment, name="", expires_at=None, now=now).secret


@transaction.atomic
def create_key(
    scope: Scope, *, name: str, now: datetime, expires_at: datetime | None = None
) -> CreatedKey:
    """Give an environment one more key, for one purpose; raises Invalid."""
    environment = _locked(scope)
    require(scope.actor, _needed(scope, environment))
    name = label(name)
    if not name or len(name) > policy.KEY_NAME_LENGTH:
        reason = f"has 1 to {policy.KEY_NAME_LENGTH} characters"
        raise Invalid(f"The name of a key {reason}", detail={"name": [reason]})
    if expires_at is not None and expires_at <= now:
        raise Invalid("A key must expire in the future", detail={"expires_at": ["past"]})
    if environment.keys.usable(now).count() >= policy.KEYS_PER_ENVIRONMENT:
        raise Invalid(
            f"An environment may have {policy.KEYS_PER_ENVIRONMENT} keys: revoke one first"
        )
    made = _issue(environment, name=name, expires_at=expires_at, now=now)
    _record(scope, environment, "created", now=now, name=name, hint=made.hint)
    return made


@transaction.atomic
def revoke_key(scope: Scope, *, key_id: UUID, now: datetime) -> None:
    """End a key with a name, or a replaced one, at once; once more changes nothing."""
    environment = _locked(scope)
    require(scope.actor, _needed(scope, environment))
    key = environment.keys.filter(pk=key_id).first()
    if key is None:
        raise NotFound
    if not key.name and key.expires_at is None:
        raise Invalid("The main key cannot be revoked: replace it instead")
    if key.revoked_at is None:
        key.revoked_at = now
        key.save(update_fields=["revoked_at"])
        _record(scope, environment, "revoked", now=now, name=key.name, hint=key.hint)
        transaction.on_commit(credentials.forget)


@transaction.atomic
def regenerate_key(scope: Scope, *, now: datetime) -> str:
    """Replace the key and return the new secret; the old one works for another 24 hours.

    A branch has its parent's key, so it is the parent's that is replaced.
    """
    environment = _locked(scope)
    require(scope.actor, _needed(scope, environment))
    environment.keys.current().update(expires_at=now + policy.KEY_GRACE)
    secret = issue_key(environment, now=now)
    _record(scope, environment, "regenerated", now=now)
    transaction.on_commit(credentials.forget)
    return secret


@transaction.atomic
def revoke_old_keys(scope: Scope, *, now: datetime) -> int:
    """End at once the keys that are in their grace, as after a leak; return how many."""
    environment = _locked(scope)
    require(scope.actor, _needed(scope, environment))
    ended = environment.keys.main().usable(now).exclude(expires_at=None).update(revoked_at=now)
    if ended:
        _record(scope, environment, "revoked", now=now)
        transaction.on_commit(credentials.forget)
    return ended


def may_write_keys(scope: Scope) -> bool:
    """Whether the actor may make, replace and revoke the keys of this environment."""
    environment = Environment.objects.within(scope).first()
    return environment is not None and allows(scope.actor, _needed(scope, environment))


def require_key_write(scope: Scope) -> None:
    """Members replace the key of their own development environment; others need the permission."""
    environment = Environment.objects.within(scope).first()
    if environment is None:
        raise NotFound
    require(scope.actor, _needed(scope, environment))


def _needed(scope: Scope, environment: Environment) -> Permission:
    actor = scope.actor
    is_own = actor.kind == "user" and actor.id is not None and actor.id == environment.owner_id
    return Permission.KEYS_READ if is_own else Permission.KEYS_WRITE


def _locked(scope: Scope) -> Environment:
    environment = Environment.objects.within(scope).first()
    if environment is None:
        raise NotFound
    return Environment.objects.select_for_update().get(pk=environment.key_environment_id)


def _issue(
    environment: Environment, *, name: str, expires_at: datetime | None, now: datetime
) -> CreatedKey:
    prefix = EnvironmentType(environment.type).key_prefix
    secret = new_token(prefix, length=policy.KEY_LENGTH)
    key = EnvironmentKey(
        environment=environment,
        name=name,
        digest=digest(secret),
        hint=f"{prefix}…{secret[-4:]}",
        created_at=now,
        expires_at=expires_at,
    )
    key.sealed = seal(secret, context=key.seal_context)
    key.save()
    return CreatedKey(key_id=key.id, secret=secret, hint=key.hint)


def _record(
    scope: Scope, environment: Environment, what: str, *, now: datetime, **detail: str
) -> None:
    target = ("environment", UUID(str(environment.id)))
    record(scope.organization, action=f"key.{what}", target=target, detail=detail, now=now)
