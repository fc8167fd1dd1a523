"""From a key to a Scope: one query, remembered for moments, never across tenants."""

from datetime import timedelta
from uuid import uuid4

import pytest

from apps.accounts.errors import NotAuthenticated
from apps.core.errors import NotFound
from apps.environments import credentials
from apps.environments.access import scope_for_user
from apps.environments.credentials import REMEMBERED, public_scope, resolve_key, signing_keys
from apps.environments.models import EnvironmentKey
from apps.environments.operations.life import archive_branch, upsert_branch
from apps.orgs.operations.members import leave_organization, remove_member
from apps.orgs.roles import Role
from apps.projects.operations import archive_project
from tests.factories import (
    NOW,
    acme,
    alice,
    bob,
    branch,
    globex,
    key_scope,
    organization_as,
    secret_of,
    user_scope,
)

pytestmark = pytest.mark.django_db

SECOND = timedelta(seconds=1)


@pytest.fixture(autouse=True)
def _nothing_is_remembered():
    credentials.forget()


def test_a_key_opens_its_environment_and_no_other():
    tenant, his = acme(), globex()
    scope = resolve_key(tenant.secret, now=NOW)
    assert scope == tenant.scope
    assert scope.actor.kind == "key"
    assert scope.actor.id == EnvironmentKey.objects.get(environment=tenant.production).id
    assert resolve_key(his.secret, now=NOW).organization_id == his.organization.id


@pytest.mark.parametrize("secret", ["", "tr_prod_", "tr_prod_\0", "tr_pat_x", "sk_live", "🦊"])
def test_any_other_secret_opens_nothing(secret):
    acme()
    with pytest.raises(NotAuthenticated):
        resolve_key(secret, now=NOW)


def test_a_key_costs_one_query_and_then_none(django_assert_num_queries):
    secret = acme().secret
    with django_assert_num_queries(1):
        resolve_key(secret, now=NOW)
    with django_assert_num_queries(0):
        resolve_key(secret, now=NOW + REMEMBERED - SECOND / 10)
    with django_assert_num_queries(1):
        resolve_key(secret, now=NOW + REMEMBERED)


def test_a_branch_costs_one_query_too(django_assert_num_queries):
    tenant = acme()
    child, secret = branch(tenant), tenant.keys["preview"]
    with django_assert_num_queries(1):
        assert resolve_key(secret, "feature/cart", now=NOW).environment_id == child.id


def test_an_unknown_key_is_not_remembered(django_assert_num_queries):
    for _ in range(2):
        with django_assert_num_queries(1), pytest.raises(NotAuthenticated):
            resolve_key("tr_prod_unknown", now=NOW)


def test_a_clock_that_was_turned_back_keeps_no_answer_alive(django_assert_num_queries):
    secret = acme().secret
    resolve_key(secret, now=NOW)
    with django_assert_num_queries(1):
        resolve_key(secret, now=NOW - timedelta(hours=1))


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(credentials, "_REMEMBERED_AT_MOST", 2)
    for secret in acme().keys.values():
        resolve_key(secret, now=NOW)
    assert len(credentials._scopes._answers) <= 2


def test_a_revocation_elsewhere_is_learned_within_moments():
    secret = acme().secret
    resolve_key(secret, now=NOW)
    EnvironmentKey.objects.update(revoked_at=NOW)  # as another process would
    resolve_key(secret, now=NOW)
    with pytest.raises(NotAuthenticated):
        resolve_key(secret, now=NOW + REMEMBERED)


def test_an_unknown_preview_branch_is_not_found():
    tenant = acme()
    branch(tenant, "cart")
    for name in ("other", "..", "\0", "x" * 300):
        with pytest.raises(NotFound):
            resolve_key(tenant.keys["preview"], name, now=NOW)


def test_other_environments_ignore_a_branch():
    tenant = acme()
    for slug in ("prod", "staging", "dev"):
        environment = resolve_key(tenant.keys[slug], "main", now=NOW).environment_id
        assert environment == resolve_key(tenant.keys[slug], now=NOW).environment_id


def test_a_development_key_opens_its_own_branches():
    tenant = acme()
    child = upsert_branch(key_scope(tenant.development), branch="try", now=NOW)
    assert resolve_key(tenant.keys["dev"], "try", now=NOW).environment_id == child.id


def test_a_branch_of_charlie_is_not_opened_by_alices_key():
    tenant, his = acme(), globex()
    branch(his, "secret-plan")
    with pytest.raises(NotFound):
        resolve_key(tenant.keys["preview"], "secret-plan", now=NOW)


def test_an_archived_branch_opens_no_more(django_capture_on_commit_callbacks):
    tenant = acme()
    child = branch(tenant, "cart")
    resolve_key(tenant.keys["preview"], "cart", now=NOW)
    assert signing_keys(child.id, now=NOW)
    with django_capture_on_commit_callbacks(execute=True):
        archive_branch(key_scope(tenant.preview), branch="cart", now=NOW)
    with pytest.raises(NotFound):
        resolve_key(tenant.keys["preview"], "cart", now=NOW)
    assert signing_keys(child.id, now=NOW) == []


def test_the_keys_of_an_archived_project_open_no_more(django_capture_on_commit_callbacks):
    tenant = acme()
    resolve_key(tenant.secret, now=NOW)
    with django_capture_on_commit_callbacks(execute=True):
        archive_project(organization_as(tenant, alice()), project_id=tenant.project.id, now=NOW)
    for secret in tenant.keys.values():
        with pytest.raises(NotAuthenticated):
            resolve_key(secret, now=NOW)
    assert signing_keys(tenant.production.id, now=NOW) == []


def test_a_development_key_ends_with_the_membership(django_capture_on_commit_callbacks):
    tenant = acme()
    own = scope_for_user(bob(), tenant.project.ref, "dev", now=NOW)
    secret = secret_of(tenant.project.environments.get(pk=own.environment_id))
    assert resolve_key(secret, now=NOW).environment_id == own.environment_id
    with django_capture_on_commit_callbacks(execute=True):
        remove_member(organization_as(tenant, alice()), user_id=bob().id, now=NOW)
    with pytest.raises(NotAuthenticated):
        resolve_key(secret, now=NOW)
    assert signing_keys(own.environment_id, now=NOW) == []


def test_a_development_key_ends_with_its_inactive_owner():
    tenant, owner = acme(), alice()
    owner.is_active = False
    owner.save(update_fields=["is_active"])
    with pytest.raises(NotAuthenticated):
        resolve_key(tenant.keys["dev"], now=NOW)
    assert resolve_key(tenant.secret, now=NOW) == tenant.scope


def test_public_tokens_of_a_branch_are_signed_with_its_parents_key():
    tenant = acme()
    assert signing_keys(branch(tenant).id, now=NOW) == [tenant.keys["preview"]]
    assert signing_keys(tenant.production.id, now=NOW) == [tenant.secret]
    assert signing_keys(uuid4(), now=NOW) == []


def test_the_scope_of_a_public_token_is_its_environment(django_assert_num_queries):
    tenant = acme()
    with django_assert_num_queries(1):
        signing_keys(tenant.production.id, now=NOW)
        scope = public_scope(tenant.production.id, scopes=("read:runs",), now=NOW)
    assert scope.environment_id == tenant.production.id
    assert scope.organization_id == tenant.organization.id
    assert (scope.actor.kind, scope.actor.scopes) == ("public_token", ("read:runs",))
    with pytest.raises(NotFound):
        public_scope(uuid4(), scopes=(), now=NOW)


def test_leaving_is_told_to_this_process(django_capture_on_commit_callbacks):
    tenant = acme()
    resolve_key(tenant.secret, now=NOW)
    with django_capture_on_commit_callbacks(execute=True):
        leave_organization(organization_as(tenant, bob()), now=NOW)
    assert credentials._scopes._answers == {}


def test_the_role_of_a_scope_is_that_of_the_member():
    assert user_scope(acme().production, bob(), Role.VIEWER).actor.role is Role.VIEWER
