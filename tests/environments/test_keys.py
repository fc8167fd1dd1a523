"""Secret keys: their form, how they are kept, replaced and revoked."""

import re
from datetime import timedelta

import pytest
from django.db import IntegrityError

from apps.accounts.errors import NotAuthenticated
from apps.core.crypto import SealError, digest, unseal
from apps.core.errors import Forbidden
from apps.environments.credentials import resolve_key, signing_keys
from apps.environments.models import Environment, EnvironmentKey
from apps.environments.operations.keys import regenerate_key, revoke_old_keys
from apps.environments.queries import current_key, list_keys
from apps.environments.scope import Scope
from apps.orgs.models import AuditEntry
from apps.orgs.roles import Role
from tests.factories import NOW, acme, alice, bob, branch, globex, user_scope

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)


def owner(environment: Environment) -> Scope:
    return user_scope(environment, alice(), Role.OWNER)


def test_keys_look_as_clients_expect():
    for slug, word in {
        "prod": "prod",
        "staging": "stg",
        "preview": "preview",
        "dev": "dev",
    }.items():
        secret = acme().keys[slug]
        assert re.fullmatch(rf"tr_{word}_[0-9A-Za-z]{{24}}", secret)


def test_a_key_is_kept_as_digest_and_sealed_to_its_row():
    tenant = acme()
    key = EnvironmentKey.objects.get(environment=tenant.production)
    assert bytes(key.digest) == digest(tenant.secret)
    assert tenant.secret.encode() not in bytes(key.sealed)
    assert unseal(key.sealed, context=key.seal_context) == tenant.secret
    other = EnvironmentKey.objects.get(environment=tenant.staging)
    with pytest.raises(SealError):
        unseal(key.sealed, context=other.seal_context)


def test_a_replaced_key_works_for_another_day(django_capture_on_commit_callbacks):
    tenant = acme()
    with django_capture_on_commit_callbacks(execute=True):
        fresh = regenerate_key(owner(tenant.production), now=NOW)
    late = NOW + DAY - timedelta(seconds=1)
    assert resolve_key(fresh, now=late).environment_id == tenant.production.id
    assert resolve_key(tenant.secret, now=late).environment_id == tenant.production.id
    assert signing_keys(tenant.production.id, now=late) == [fresh, tenant.secret]
    with pytest.raises(NotAuthenticated):
        resolve_key(tenant.secret, now=NOW + DAY + timedelta(seconds=5))
    assert signing_keys(tenant.production.id, now=NOW + DAY + timedelta(seconds=5)) == [fresh]


def test_a_leaked_key_ends_at_once_after_both_steps(django_capture_on_commit_callbacks):
    tenant = acme()
    resolve_key(tenant.secret, now=NOW)
    with django_capture_on_commit_callbacks(execute=True):
        fresh = regenerate_key(owner(tenant.production), now=NOW)
        assert revoke_old_keys(owner(tenant.production), now=NOW) == 1
    with pytest.raises(NotAuthenticated):
        resolve_key(tenant.secret, now=NOW)
    assert signing_keys(tenant.production.id, now=NOW) == [fresh]
    assert revoke_old_keys(owner(tenant.production), now=NOW) == 0


def test_replacing_the_key_of_a_branch_replaces_its_parents():
    tenant = acme()
    fresh = regenerate_key(owner(branch(tenant)), now=NOW)
    assert current_key(owner(tenant.preview)) == fresh


def test_keys_are_listed_by_hint_with_the_end_of_their_grace():
    tenant = acme()
    fresh = regenerate_key(owner(tenant.production), now=NOW)
    listed = list_keys(owner(tenant.production), now=NOW)
    assert [(key.hint, key.expires_at) for key in listed] == [
        (f"tr_prod_…{fresh[-4:]}", None),
        (f"tr_prod_…{tenant.secret[-4:]}", NOW + DAY),
    ]
    assert len(list_keys(owner(tenant.production), now=NOW + DAY)) == 1
    with pytest.raises(Forbidden):
        list_keys(tenant.scope, now=NOW)


def test_who_replaces_a_key_is_in_the_log():
    tenant = acme()
    regenerate_key(owner(tenant.production), now=NOW)
    entry = AuditEntry.objects.get(action="key.regenerated")
    assert (entry.actor_id, entry.environment_id) == (alice().id, tenant.production.id)


def test_a_developer_reads_but_does_not_replace_the_key_of_production():
    tenant = acme()
    scope = user_scope(tenant.production, bob(), Role.DEVELOPER)
    assert current_key(scope) == tenant.secret
    with pytest.raises(Forbidden):
        regenerate_key(scope, now=NOW)
    with pytest.raises(Forbidden):
        revoke_old_keys(scope, now=NOW)


def test_a_developer_replaces_the_key_of_their_own_development():
    tenant = acme()
    hers = user_scope(tenant.development, alice(), Role.DEVELOPER)
    assert regenerate_key(hers, now=NOW) == current_key(hers)
    with pytest.raises(Forbidden):
        regenerate_key(user_scope(tenant.development, bob(), Role.DEVELOPER), now=NOW)


def test_a_viewer_does_not_read_a_key():
    with pytest.raises(Forbidden):
        current_key(user_scope(acme().production, bob(), Role.VIEWER))


def test_a_key_neither_reads_nor_replaces_keys():
    with pytest.raises(Forbidden):
        current_key(acme().scope)
    with pytest.raises(Forbidden):
        regenerate_key(acme().scope, now=NOW)


def test_charlies_key_is_not_touched_by_alice():
    his = globex()
    regenerate_key(owner(acme().production), now=NOW)
    assert resolve_key(his.secret, now=NOW).environment_id == his.production.id


def test_an_environment_has_one_current_key():
    with pytest.raises(IntegrityError, match="environment_has_one_current_key"):
        EnvironmentKey.objects.create(
            environment=acme().production, digest=b"x", sealed=b"x", hint="x", created_at=NOW
        )
