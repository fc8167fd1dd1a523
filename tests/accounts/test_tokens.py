"""Personal tokens act as their person until they expire or are revoked."""

from datetime import timedelta

import pytest

from apps.accounts import policy
from apps.accounts.errors import NotAuthenticated
from apps.accounts.models import PersonalToken
from apps.accounts.operations.tokens import create_token, resolve_token, revoke_token
from apps.accounts.queries import list_tokens
from apps.core.crypto import digest
from apps.core.errors import Invalid, NotFound
from tests.factories import NOW, alice, charlie

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)


def test_a_token_acts_as_its_person():
    made = create_token(alice(), name="laptop", now=NOW)
    assert resolve_token(made.secret, now=NOW) == alice()


def test_a_token_looks_as_clients_expect():
    made = create_token(alice(), name="laptop", now=NOW)
    assert made.secret.startswith("tr_pat_")
    assert len(made.secret) == len("tr_pat_") + 32
    assert made.hint == f"tr_pat_…{made.secret[-4:]}"


def test_only_the_digest_is_kept():
    made = create_token(alice(), name="laptop", now=NOW)
    kept = PersonalToken.objects.values().get()
    assert bytes(kept["digest"]) == digest(made.secret)
    assert made.secret not in str(kept)


@pytest.mark.parametrize("secret", ["", "tr_pat_", "tr_pat_x", "tr_prod_x", "tr_pat_\0", "🦊"])
def test_any_other_secret_is_nobody(secret):
    create_token(alice(), name="laptop", now=NOW)
    with pytest.raises(NotAuthenticated):
        resolve_token(secret, now=NOW)


def test_an_expired_token_is_nobody():
    made = create_token(alice(), name="laptop", now=NOW, expires_at=NOW + MINUTE)
    assert resolve_token(made.secret, now=NOW + MINUTE / 2) == alice()
    with pytest.raises(NotAuthenticated):
        resolve_token(made.secret, now=NOW + MINUTE)


def test_a_revoked_token_is_nobody_at_once():
    made = create_token(alice(), name="laptop", now=NOW)
    resolve_token(made.secret, now=NOW)
    revoke_token(alice(), token_id=made.token_id, now=NOW)
    with pytest.raises(NotAuthenticated):
        resolve_token(made.secret, now=NOW)


def test_revoking_twice_keeps_the_first_time():
    made = create_token(alice(), name="laptop", now=NOW)
    revoke_token(alice(), token_id=made.token_id, now=NOW)
    revoke_token(alice(), token_id=made.token_id, now=NOW + MINUTE)
    assert PersonalToken.objects.get().revoked_at == NOW


def test_charlie_cannot_revoke_a_token_of_alice():
    made = create_token(alice(), name="laptop", now=NOW)
    with pytest.raises(NotFound):
        revoke_token(charlie(), token_id=made.token_id, now=NOW)
    assert resolve_token(made.secret, now=NOW) == alice()


def test_charlie_sees_only_his_own_tokens():
    create_token(alice(), name="laptop", now=NOW)
    mine = create_token(charlie(), name="desk", now=NOW)
    assert [token.id for token in list_tokens(charlie())] == [mine.token_id]


def test_a_token_of_somebody_inactive_is_nobody():
    made = create_token(alice(), name="laptop", now=NOW)
    person = alice()
    person.is_active = False
    person.save(update_fields=["is_active"])
    with pytest.raises(NotAuthenticated):
        resolve_token(made.secret, now=NOW)


def test_use_is_noted_at_most_once_a_minute(django_assert_num_queries):
    made = create_token(alice(), name="laptop", now=NOW)
    with django_assert_num_queries(2):
        resolve_token(made.secret, now=NOW)
    with django_assert_num_queries(1):
        resolve_token(made.secret, now=NOW + MINUTE * 0.9)
    assert PersonalToken.objects.get().used_at == NOW
    resolve_token(made.secret, now=NOW + MINUTE)
    assert PersonalToken.objects.get().used_at == NOW + MINUTE


@pytest.mark.parametrize("name", ["", "   "])
def test_a_token_needs_a_name(name):
    with pytest.raises(Invalid, match="needs a name"):
        create_token(alice(), name=name, now=NOW)


def test_a_token_must_expire_in_the_future():
    with pytest.raises(Invalid, match="in the future"):
        create_token(alice(), name="laptop", now=NOW, expires_at=NOW)


def test_a_person_has_a_bounded_number_of_tokens(monkeypatch):
    monkeypatch.setattr(policy, "TOKENS_PER_PERSON", 2)
    first = create_token(alice(), name="1", now=NOW)
    create_token(alice(), name="2", now=NOW)
    with pytest.raises(Invalid, match="revoke one first"):
        create_token(alice(), name="3", now=NOW)
    revoke_token(alice(), token_id=first.token_id, now=NOW)
    create_token(alice(), name="3", now=NOW)
