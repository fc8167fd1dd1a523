"""Variables: set, imported, deleted. Every value is sealed, secret or not."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from django.db import transaction

from apps.core.crypto import seal
from apps.core.errors import AlreadyExists, NotFound
from apps.core.facts import publish
from apps.environments import policy
from apps.environments.errors import VariablesInvalid
from apps.environments.facts import VariablesChanged
from apps.environments.models import Environment, Variable
from apps.environments.scope import Scope
from apps.orgs.audit import record
from apps.orgs.permissions import Permission, require


@transaction.atomic
def create_variable(
    scope: Scope, *, name: str, value: str, is_secret: bool = False, now: datetime
) -> Variable:
    """Add a variable; raises AlreadyExists, VariablesInvalid."""
    _lock(scope)
    policy.check_variables({name: value})
    if Variable.objects.filter(environment_id=scope.environment_id, name=name).exists():
        raise AlreadyExists(f"There is a variable {name} already: update it instead")
    return set_variable(scope, name=name, value=value, is_secret=is_secret, now=now)


@transaction.atomic
def set_variable(
    scope: Scope, *, name: str, value: str, is_secret: bool | None = None, now: datetime
) -> Variable:
    """Add or change a variable; None keeps whether it is secret. A secret stays one."""
    import_variables(scope, variables={name: value}, is_secret=is_secret, override=True, now=now)
    return Variable.objects.get(environment_id=scope.environment_id, name=name)


@transaction.atomic
def import_variables(
    scope: Scope,
    *,
    variables: Mapping[str, str],
    is_secret: bool | None = None,
    override: bool = False,
    now: datetime,
) -> list[str]:
    """Add many at once, all or none; only with `override` are existing ones changed.

    Returns the names that were written. Making a secret plain is not possible: delete it first.
    """
    _lock(scope)
    policy.check_variables(variables)
    existing = {v.name: v for v in Variable.objects.filter(environment_id=scope.environment_id)}
    _check_count(existing.keys() | variables.keys())
    written = [name for name in variables if override or name not in existing]
    for name in written:
        found = existing.get(name) or Variable(
            environment_id=scope.environment_id, name=name, version=0, created_at=now
        )
        _write(found, variables[name], is_secret=is_secret, now=now)
    if written:
        _tell(scope, "variables.set", written, now=now)
    return written


@transaction.atomic
def delete_variable(scope: Scope, *, name: str, now: datetime) -> None:
    """Remove a variable; raises NotFound."""
    _lock(scope)
    if not policy.is_variable(name):
        raise NotFound("There is no such variable")
    deleted, _ = Variable.objects.filter(environment_id=scope.environment_id, name=name).delete()
    if not deleted:
        raise NotFound(f"There is no variable {name}")
    _tell(scope, "variables.deleted", [name], now=now)


def _lock(scope: Scope) -> None:
    require(scope.actor, Permission.VARIABLES_WRITE)
    # Serializes writers of one environment, so that the count and the versions hold.
    if Environment.objects.within(scope).select_for_update(no_key=True).first() is None:
        raise NotFound


def _check_count(names: set[str]) -> None:
    if len(names) > policy.VARIABLES_PER_ENVIRONMENT:
        raise VariablesInvalid(
            f"An environment may have {policy.VARIABLES_PER_ENVIRONMENT:,} variables",
            detail={"variables": ["too many"]},
        )


def _write(variable: Variable, value: str, *, is_secret: bool | None, now: datetime) -> None:
    variable.is_secret = variable.is_secret or bool(is_secret)
    variable.sealed = seal(value, context=variable.seal_context)
    variable.version += 1
    variable.updated_at = now
    variable.save()


def _tell(scope: Scope, action: str, names: list[str], *, now: datetime) -> None:
    target = ("environment", scope.environment_id)
    record(
        scope.organization, action=action, target=target, detail={"names": sorted(names)}, now=now
    )
    publish(VariablesChanged(environment_id=scope.environment_id, at=now))
