"""A superuser sees the pages as somebody; the log, a banner and closed doors keep it honest."""

from __future__ import annotations

import pytest
from django.core.cache import cache
from django.test import Client

from apps.accounts.models import PersonalToken, User
from apps.core.ids import new_id, public_id
from apps.orgs.models import AuditEntry, Organization
from tests.factories import acme, alice, bob

pytestmark = pytest.mark.django_db

BACKEND = "django.contrib.auth.backends.ModelBackend"


@pytest.fixture(autouse=True)
def fresh():
    cache.clear()


@pytest.fixture
def root() -> User:
    return User.objects.create_superuser("root@example.com")


@pytest.fixture
def staff(root) -> Client:
    client = Client()
    client.force_login(root, backend=BACKEND)
    return client


def act_as(client: Client, user: User) -> None:
    answer = client.post(f"/impersonation/{user.public_id}")
    assert (answer.status_code, answer["Location"]) == (302, "/")


def test_the_staff_sees_what_the_person_sees_and_a_banner(staff):
    acme()
    assert staff.get("/orgs/acme").status_code == 404
    act_as(staff, alice())
    html = staff.get("/orgs/acme").content.decode()
    assert "data-impersonation" in html
    assert "alice@example.com" in html


def test_the_log_of_the_organization_says_when_and_by_whom(staff, root):
    acme()
    act_as(staff, alice())
    staff.post("/orgs/acme/settings", {"name": "Acme 2"})
    answer = staff.post("/impersonation")
    assert answer["Location"] == f"/admin/accounts/user/{alice().pk}/change/"
    entries = AuditEntry.objects.filter(organization__slug="acme").order_by("id")
    began, renamed, ended = list(entries)[-3:]
    assert (began.action, began.actor_id, began.target_id) == (
        "support.began",
        root.pk,
        str(alice().pk),
    )
    assert (renamed.actor_id, renamed.detail["impersonated_by"]) == (alice().pk, str(root.pk))
    assert (ended.action, ended.actor_id) == ("support.ended", root.pk)
    assert "impersonated_by" not in began.detail
    assert staff.get("/orgs/acme").status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/account",
        "/account/tokens",
        "/account/security",
        "/account/security/app/activate/",
        "/account/sessions",
        "/account/authorization-code/x",
        "/invites/x",
    ],
)
def test_the_account_of_the_person_stays_closed(staff, path):
    acme()
    act_as(staff, alice())
    for answer in (staff.get(path), staff.post(path, {"name": "mine"})):
        assert answer.status_code == 403
    assert not PersonalToken.objects.exists()


def test_who_is_no_superuser_acts_as_nobody(root):
    acme()
    for user, staff in ((bob(), False), (bob(), True)):
        user.is_staff = staff
        user.save()
        client = Client()
        client.force_login(user, backend=BACKEND)
        assert client.post(f"/impersonation/{alice().public_id}").status_code == 403
        assert "data-impersonation" not in client.get("/orgs/acme").content.decode()


def test_nobody_acts_as_the_staff_or_as_who_is_not_active(staff):
    acme()
    other = User.objects.create_superuser("other@example.com")
    assert staff.post(f"/impersonation/{other.public_id}").status_code == 403
    User.objects.filter(pk=bob().pk).update(is_active=False)
    assert staff.post(f"/impersonation/{bob().public_id}").status_code == 422
    assert staff.post(f"/impersonation/{public_id('user', new_id())}").status_code == 404


def test_a_superuser_who_is_none_any_more_is_themselves_again(staff, root):
    acme()
    act_as(staff, alice())
    User.objects.filter(pk=root.pk).update(is_superuser=False)
    assert staff.get("/orgs/acme").status_code == 404


def test_the_admin_stays_the_staffs_own(staff):
    acme()
    act_as(staff, alice())
    assert staff.get("/admin/").status_code == 200


def test_the_page_of_a_person_offers_it(staff, root):
    html = staff.get(f"/admin/accounts/user/{alice().pk}/change/").content.decode()
    assert f"/impersonation/{alice().public_id}" in html
    html = staff.get(f"/admin/accounts/user/{root.pk}/change/").content.decode()
    assert "/impersonation/" not in html


def test_a_stranger_is_asked_to_sign_in():
    answer = Client().post(f"/impersonation/{alice().public_id}")
    assert answer["Location"].startswith("/sign-in")
    assert Organization.objects.count() == 0
