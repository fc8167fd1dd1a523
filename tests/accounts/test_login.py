"""A command line signs in by a code that somebody approves; the code is redeemed once."""

import base64
import hashlib
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from django.db import connection

from apps.accounts import policy
from apps.accounts.errors import CodeDenied, CodeUnusable
from apps.accounts.models import AuthorizationCode, PersonalToken
from apps.accounts.operations.login import approve_code, create_code, deny_code, redeem_code
from apps.accounts.operations.tokens import resolve_token
from apps.accounts.queries import pending_code
from apps.core.errors import Invalid
from tests.factories import NOW, alice, charlie

pytestmark = pytest.mark.django_db


def approved() -> str:
    code = create_code(client="laptop", now=NOW).code
    approve_code(alice(), code=code, now=NOW)
    return code


def test_an_approved_code_becomes_a_token_of_who_approved_it():
    token = redeem_code(code=approved(), now=NOW)
    assert token is not None
    assert resolve_token(token.secret, now=NOW) == alice()
    assert PersonalToken.objects.get().name == "Command line laptop"


def test_until_somebody_approves_there_is_no_token():
    code = create_code(now=NOW).code
    assert redeem_code(code=code, now=NOW) is None
    assert redeem_code(code=code, now=NOW) is None


def test_polling_is_one_read_without_a_lock(django_assert_num_queries):
    code = create_code(now=NOW).code
    with django_assert_num_queries(1) as queries:
        redeem_code(code=code, now=NOW)
    assert "FOR UPDATE" not in queries.captured_queries[0]["sql"]


def test_a_code_is_redeemed_once():
    code = approved()
    redeem_code(code=code, now=NOW)
    with pytest.raises(CodeUnusable):
        redeem_code(code=code, now=NOW)
    assert PersonalToken.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_two_who_redeem_at_once_get_one_token():
    code, barrier = approved(), Barrier(2)

    def redeem(_: int) -> bool:
        barrier.wait(60)
        try:
            return redeem_code(code=code, now=NOW) is not None
        except CodeUnusable:
            return False
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(redeem, range(2))) == [False, True]
    assert PersonalToken.objects.count() == 1


def test_an_expired_code_can_neither_be_approved_nor_redeemed():
    code, late = create_code(now=NOW).code, NOW + policy.CODE_LIFETIME
    with pytest.raises(CodeUnusable):
        approve_code(alice(), code=code, now=late)
    approve_code(alice(), code=code, now=late - timedelta(seconds=1))
    with pytest.raises(CodeUnusable):
        redeem_code(code=code, now=late)


def test_a_code_lives_ten_minutes():
    assert create_code(now=NOW).expires_at == NOW + timedelta(minutes=10)


@pytest.mark.parametrize("code", ["", "unknown", "\0", "\ud800", "🦊" * 100])
def test_an_unknown_code_is_unusable(code):
    with pytest.raises(CodeUnusable):
        redeem_code(code=code, now=NOW)
    with pytest.raises(CodeUnusable):
        approve_code(alice(), code=code, now=NOW)
    with pytest.raises(CodeUnusable):
        pending_code(code, now=NOW)


def test_charlie_cannot_take_over_what_alice_approved():
    code = approved()
    with pytest.raises(CodeUnusable):
        approve_code(charlie(), code=code, now=NOW)
    token = redeem_code(code=code, now=NOW)
    assert token is not None
    assert resolve_token(token.secret, now=NOW) == alice()


def test_approving_twice_is_approving_once():
    code = approved()
    approve_code(alice(), code=code, now=NOW + timedelta(minutes=1))
    assert AuthorizationCode.objects.get().approved_at == NOW


def test_with_a_challenge_only_its_verifier_redeems():
    verifier = "v" * 43
    hashed = hashlib.sha256(verifier.encode()).digest()
    challenge = base64.urlsafe_b64encode(hashed).rstrip(b"=").decode()
    code = create_code(challenge=challenge, now=NOW).code
    approve_code(alice(), code=code, now=NOW)
    for wrong in (None, "", "w" * 43):
        with pytest.raises(CodeUnusable):
            redeem_code(code=code, verifier=wrong, now=NOW)
    assert redeem_code(code=code, verifier=verifier, now=NOW) is not None


def test_a_malformed_challenge_is_refused():
    with pytest.raises(Invalid, match="43 characters"):
        create_code(challenge="short", now=NOW)


def test_the_approval_page_sees_what_asks():
    code = create_code(client="alice's laptop", now=NOW).code
    assert pending_code(code, now=NOW).client == "alice's laptop"


def test_the_code_itself_is_not_kept():
    code = create_code(now=NOW).code
    assert code not in str(AuthorizationCode.objects.values().get())


def test_stale_codes_are_swept_by_new_ones():
    for _ in range(3):
        create_code(now=NOW)
    create_code(now=NOW + timedelta(days=1, minutes=11))
    assert AuthorizationCode.objects.count() == 1


def test_a_code_that_was_denied_is_never_redeemed():
    made = create_code(now=NOW)
    deny_code(code=made.code, now=NOW)
    deny_code(code=made.code, now=NOW)
    with pytest.raises(CodeDenied):
        redeem_code(code=made.code, now=NOW)
    with pytest.raises(CodeUnusable):
        approve_code(alice(), code=made.code, now=NOW)
    with pytest.raises(CodeUnusable):
        pending_code(made.code, now=NOW)


def test_a_code_that_was_approved_cannot_be_denied():
    made = create_code(now=NOW)
    approve_code(alice(), code=made.code, now=NOW)
    with pytest.raises(CodeUnusable):
        deny_code(code=made.code, now=NOW)
