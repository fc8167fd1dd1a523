"""Members, invites and the audit log of an organization."""

from datetime import timedelta

import pytest

from apps.core import clock
from apps.orgs.models import Invite, Membership
from apps.orgs.operations.invites import invite_member
from tests import factories
from tests.api.client import Api

ORG = "/api/v1/orgs/acme"


@pytest.fixture
def bob(acme):
    """A developer at Acme, by a personal token."""
    return Api(factories.personal_token(factories.bob()))


@pytest.fixture
def place(acme):
    """Acme as alice sees it."""
    return factories.organization_as(acme, factories.alice())


def test_members_are_listed_with_their_roles(bob):
    members = bob.get(f"{ORG}/members").ok()

    assert [(m["name"], m["email"], m["role"]) for m in members] == [
        ("Alice", "alice@example.com", "owner"),
        ("Bob", "bob@example.com", "developer"),
    ]
    assert members[1]["id"] == factories.bob().public_id


def test_a_role_is_changed_and_a_member_removed(alice, bob, acme):
    path = f"{ORG}/members/{factories.bob().public_id}"

    assert alice.patch(path, {"role": "admin"}).ok()["role"] == "admin"
    assert bob.get(f"{ORG}/invites").ok() == []
    assert alice.delete(path).ok() == {"success": True}
    assert bob.get(f"{ORG}/members").status == 404
    assert alice.delete(path).status == 404


def test_nobody_rises_by_themselves(bob):
    path = f"{ORG}/members/{factories.bob().public_id}"

    assert bob.patch(path, {"role": "owner"}).status == 403
    assert bob.delete(f"{ORG}/members/{factories.alice().public_id}").status == 403


def test_a_role_must_be_one_and_an_owner_must_stay(alice):
    path = f"{ORG}/members/{factories.alice().public_id}"

    assert alice.patch(path, {"role": "emperor"}).status == 422
    assert alice.patch(path, {"role": "viewer"}).body["code"] == "last_owner"
    assert alice.patch(path, {}).status == 400


def test_an_invite_is_made_sent_again_and_revoked(alice):
    made = alice.post(f"{ORG}/invites", {"email": "Erin@example.com"}).ok()
    (listed,) = alice.get(f"{ORG}/invites").ok()

    assert (listed["id"], listed["email"], listed["role"]) == (
        made["id"], "erin@example.com", "developer",
    )  # fmt: skip
    before = bytes(Invite.objects.get().digest)
    assert alice.post(f"{ORG}/invites/{made['id']}/resend").ok() == made
    assert bytes(Invite.objects.get().digest) != before
    assert alice.delete(f"{ORG}/invites/{made['id']}").ok() == {"success": True}
    assert alice.get(f"{ORG}/invites").ok() == []


def test_an_answer_never_holds_the_link_of_an_invite(alice):
    answer = alice.post(f"{ORG}/invites", {"email": "erin@example.com", "role": "viewer"})

    assert answer.ok().keys() == {"id"}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"email": "bob@example.com"}, 409),
        ({"email": "nobody"}, 422),
        ({"email": "erin@example.com", "role": "emperor"}, 422),
        ({}, 400),
    ],
)
def test_what_is_no_invite_is_refused(alice, body, status):
    assert alice.post(f"{ORG}/invites", body).status == status


def test_a_developer_invites_nobody_and_sees_no_invites(bob):
    assert bob.post(f"{ORG}/invites", {"email": "erin@example.com"}).status == 403
    assert bob.get(f"{ORG}/invites").status == 403


def test_an_invite_is_accepted_once_by_its_address_only(place):
    erin = Api(factories.personal_token(factories.person("erin")))
    mallory = Api(factories.personal_token(factories.person("mallory")))
    token = invite_member(place, email="erin@example.com", role="viewer", now=clock.now()).token

    assert mallory.post("/api/v1/invites/accept", {"token": token}).status == 403
    joined = erin.post("/api/v1/invites/accept", {"token": token}).ok()
    assert (joined["slug"], joined["role"]) == ("acme", "viewer")
    assert erin.post("/api/v1/invites/accept", {"token": token}).status == 422
    assert Membership.objects.filter(user__email="mallory@example.com").count() == 0


def test_the_log_says_who_did_what(alice, acme):
    path = f"{ORG}/members/{factories.bob().public_id}"
    alice.patch(path, {"role": "viewer"}).ok()
    Api(acme.secret).post(
        f"/api/v1/projects/{acme.project.ref}/envvars/prod", {"name": "A", "value": "1"}
    ).ok()
    newest, older = alice.get(f"{ORG}/audit").ok()["data"][:2]

    assert (newest["action"], newest["actor"]["kind"]) == ("variables.set", "key")
    assert newest["target"] == {"type": "environment", "id": acme.production.public_id}
    assert newest["environmentId"] == acme.production.public_id
    assert older["actor"] == {
        "kind": "user", "id": factories.alice().public_id, "name": "Alice",
    }  # fmt: skip
    assert older["action"] == "member.role_changed"
    assert older["target"] == {"type": "user", "id": factories.bob().public_id}
    assert older["detail"] == {"before": "developer", "after": "viewer"}


def test_the_log_is_filtered_and_comes_page_by_page(alice, acme):
    path = f"{ORG}/members/{factories.bob().public_id}"
    for role in ("viewer", "admin", "developer"):
        alice.patch(path, {"role": role}).ok()
    about = {"filter[about]": "member", "page[size]": 2}
    first = alice.get(f"{ORG}/audit", about).ok()
    after = {"page[after]": first["pagination"]["next"]}
    second = alice.get(f"{ORG}/audit", about | after).ok()

    assert [e["detail"]["after"] for e in first["data"] + second["data"]] == [
        "developer", "admin", "viewer",
    ]  # fmt: skip
    now = clock.now()
    for filters in (
        {"filter[user]": factories.bob().public_id},
        {"filter[environment]": acme.staging.public_id},
        {"filter[createdAt][from]": (now + timedelta(days=1)).isoformat()},
        {"filter[createdAt][to]": (now - timedelta(days=9_000)).isoformat()},
    ):
        assert alice.get(f"{ORG}/audit", about | filters).ok()["data"] == []
    theirs = about | {"filter[user]": factories.alice().public_id}
    assert len(alice.get(f"{ORG}/audit", theirs).ok()["data"]) == 2
    assert alice.get(f"{ORG}/audit", {"filter[user]": "alice"}).status == 400
    assert alice.get(f"{ORG}/audit", {"filter[createdAt][from]": "soon"}).status == 400


def test_a_log_however_long_costs_the_same(alice, django_assert_max_num_queries):
    path = f"{ORG}/members/{factories.bob().public_id}"
    for role in ("viewer", "admin", "developer"):
        alice.patch(path, {"role": role}).ok()
    with django_assert_max_num_queries(7):
        alice.get(f"{ORG}/audit").ok()


def test_a_developer_reads_no_log(bob):
    assert bob.get(f"{ORG}/audit").status == 403


def test_charlie_finds_nobody_at_acme(charlie_in_person, alice):
    invite = alice.post(f"{ORG}/invites", {"email": "erin@example.com"}).ok()["id"]
    member = factories.bob().public_id

    for answer in (
        charlie_in_person.get(f"{ORG}/members"),
        charlie_in_person.patch(f"{ORG}/members/{member}", {"role": "viewer"}),
        charlie_in_person.delete(f"{ORG}/members/{member}"),
        charlie_in_person.get(f"{ORG}/invites"),
        charlie_in_person.post(f"{ORG}/invites", {"email": "erin@example.com"}),
        charlie_in_person.post(f"{ORG}/invites/{invite}/resend"),
        charlie_in_person.delete(f"{ORG}/invites/{invite}"),
        charlie_in_person.delete(f"/api/v1/orgs/globex/invites/{invite}"),
        charlie_in_person.get(f"{ORG}/audit"),
    ):
        assert answer.status == 404
