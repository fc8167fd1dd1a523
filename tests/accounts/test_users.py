"""People are known by an e-mail address, whatever its case."""

import pytest
from django.contrib.auth import authenticate
from django.core.exceptions import ValidationError
from django.db import IntegrityError

from apps.accounts.models import User
from tests.factories import alice

pytestmark = pytest.mark.django_db


def test_an_address_is_kept_in_lower_case():
    assert User.objects.create_user(" Dora@Example.COM ").email == "dora@example.com"


def test_an_address_is_unique_in_any_case():
    alice()
    with pytest.raises(IntegrityError, match="user_email_is_unique_in_any_case"):
        User.objects.create(email="ALICE@example.com")


def test_a_form_says_that_an_address_is_taken():
    alice()
    with pytest.raises(ValidationError, match="There is a person with this e-mail address already"):
        User(email="Alice@Example.com", password="x").full_clean()


def test_a_person_signs_in_with_any_case():
    person = alice()
    assert authenticate(None, username="ALICE@example.com", password="correct horse") == person


def test_a_wrong_password_signs_nobody_in():
    alice()
    assert authenticate(None, username="alice@example.com", password="wrong") is None


def test_without_a_password_nobody_signs_in():
    dora = User.objects.create_user("dora@example.com")
    assert not dora.has_usable_password()


def test_a_superuser_may_open_the_admin():
    root = User.objects.create_superuser("root@example.com", "secret")
    assert root.is_staff
    assert root.is_superuser


def test_a_look_up_by_address_uses_the_unique_index(django_assert_num_queries):
    alice()
    with django_assert_num_queries(1) as queries:
        User.objects.get_by_natural_key("Alice@example.com")
    assert 'LOWER("accounts_user"."email")' in queries.captured_queries[0]["sql"]


def test_a_person_is_shown_by_name_else_by_address():
    assert alice().get_short_name() == "Alice"
    assert User(email="x@example.com").get_full_name() == "x@example.com"
    assert alice().public_id.startswith("user_")
