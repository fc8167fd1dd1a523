"""Keys with a name: made for one purpose each, shown once, and ended one by one."""

from datetime import timedelta

import pytest

from apps.accounts.errors import NotAuthenticated
from apps.core.errors import Forbidden, Invalid, NotFound
from apps.core.ids import new_id
from apps.environments import credentials, policy
from apps.environments.credentials import resolve_key, signing_keys
from apps.environments.models import EnvironmentKey
from apps.environments.operations.keys import (
    create_key,
    regenerate_key,
    revoke_key,
    revoke_old_keys,
)
from apps.environments.queries import current_key, hints_of_keys, list_keys
from apps.orgs.models import AuditEntry
from apps.orgs.roles import Role
from tests.factories import NOW, acme, alice, bob, globex, organization_as, user_scope

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def forget():
    credentials.forget()
    yield
    credentials.forget()


@pytest.fixture
def scope():
    return user_scope(acme().production, alice(), Role.OWNER)


def test_a_named_key_opens_its_environment_beside_the_main_one(scope):
    main = current_key(scope)
    made = create_key(scope, name="the shop", now=NOW)
    for secret in (main, made.secret):
        assert resolve_key(secret, now=NOW).environment_id == scope.environment_id
    assert current_key(scope) == main
    assert made.secret in signing_keys(scope.environment_id, now=NOW)


def test_keys_are_listed_the_main_one_first(scope):
    create_key(scope, name="the shop", now=NOW)
    create_key(scope, name="ci", now=NOW, expires_at=NOW + timedelta(days=1))
    assert [key.name for key in list_keys(scope, now=NOW)] == ["", "ci", "the shop"]
    later = list_keys(scope, now=NOW + timedelta(days=1))
    assert [key.name for key in later] == ["", "the shop"]


def test_a_revoked_key_opens_nothing(scope):
    made = create_key(scope, name="the shop", now=NOW)
    revoke_key(scope, key_id=made.key_id, now=NOW)
    revoke_key(scope, key_id=made.key_id, now=NOW)
    credentials.forget()
    with pytest.raises(NotAuthenticated):
        resolve_key(made.secret, now=NOW)
    actions = AuditEntry.objects.filter(action__startswith="key.").order_by("id")
    assert list(actions.values_list("action", "detail")) == [
        ("key.created", {"name": "the shop", "hint": made.hint}),
        ("key.revoked", {"name": "the shop", "hint": made.hint}),
    ]


def test_replacing_the_main_key_leaves_the_named_ones(scope):
    made = create_key(scope, name="ci", now=NOW, expires_at=NOW + timedelta(days=9))
    regenerate_key(scope, now=NOW)
    assert revoke_old_keys(scope, now=NOW) == 1
    assert resolve_key(made.secret, now=NOW + timedelta(days=8))


def test_a_replaced_key_can_be_ended_before_its_grace_is_over(scope):
    old = current_key(scope)
    regenerate_key(scope, now=NOW)
    replaced = EnvironmentKey.objects.get(
        environment_id=scope.environment_id, expires_at__isnull=False
    )
    revoke_key(scope, key_id=replaced.id, now=NOW)
    credentials.forget()
    with pytest.raises(NotAuthenticated):
        resolve_key(old, now=NOW)


def test_the_main_key_cannot_be_revoked(scope):
    main = EnvironmentKey.objects.current().get(environment_id=scope.environment_id)
    with pytest.raises(Invalid):
        revoke_key(scope, key_id=main.id, now=NOW)


@pytest.mark.parametrize("name", ["", " \n ", "x" * 101])
def test_a_key_needs_a_name_that_can_be_kept(scope, name):
    with pytest.raises(Invalid):
        create_key(scope, name=name, now=NOW)


def test_a_key_expires_in_the_future(scope):
    with pytest.raises(Invalid):
        create_key(scope, name="ci", now=NOW, expires_at=NOW)


def test_an_environment_has_so_many_keys(scope, monkeypatch):
    monkeypatch.setattr(policy, "KEYS_PER_ENVIRONMENT", 2)
    create_key(scope, name="one", now=NOW)
    with pytest.raises(Invalid):
        create_key(scope, name="two", now=NOW)


def test_a_developer_makes_keys_only_for_their_own_development(scope):
    with pytest.raises(Forbidden):
        create_key(user_scope(acme().production, bob(), Role.DEVELOPER), name="x", now=NOW)


def test_another_environments_key_is_not_found(scope):
    others = create_key(
        user_scope(globex().production, globex().owner, Role.OWNER), name="x", now=NOW
    )
    for key_id in (others.key_id, new_id()):
        with pytest.raises(NotFound):
            revoke_key(scope, key_id=key_id, now=NOW)


def test_a_log_shows_the_names_of_its_own_keys_only(scope):
    mine = create_key(scope, name="ci", now=NOW)
    others = create_key(
        user_scope(globex().production, globex().owner, Role.OWNER), name="x", now=NOW
    )
    within = organization_as(acme(), alice())
    assert hints_of_keys(within, [mine.key_id, others.key_id]) == {mine.key_id: "ci"}
