"""The pages of an organization, by role: what each may see and do, and what is asked before."""

from __future__ import annotations

import json

import pytest
from django.core.cache import cache
from django.test import Client

from apps.core.ids import public_id
from apps.environments import credentials
from apps.environments.credentials import resolve_key
from apps.environments.models import Environment, EnvironmentKey, Variable
from apps.environments.operations.keys import regenerate_key
from apps.environments.operations.variables import set_variable
from apps.environments.queries import current_key
from apps.orgs.models import Invite, Membership, Organization
from apps.orgs.operations.invites import invite_member
from apps.orgs.roles import Role
from apps.projects.models import Project
from apps.runs.operations.trigger import TriggerRequest, trigger_run
from tests.factories import (
    NOW,
    acme,
    alice,
    bob,
    charlie,
    globex,
    member,
    organization_as,
    person,
    user_scope,
)

pytestmark = pytest.mark.django_db

ORG = "/orgs/acme"
PROD = "/orgs/acme/projects/acme-shop/env/prod"
DEV = "/orgs/acme/projects/acme-shop/env/dev"
PEOPLE = {"owner": "alice", "admin": "anna", "developer": "bob", "viewer": "vera"}


@pytest.fixture(autouse=True)
def fresh():
    cache.clear()
    credentials.forget()
    yield
    credentials.forget()


def signed_in(name: str) -> Client:
    """A browser of one of the cast; anna is an admin of Acme, vera a viewer."""
    tenant = acme()
    for who, role in (("anna", Role.ADMIN), ("vera", Role.VIEWER)):
        member(tenant.organization, person(who), role)
    client = Client()
    client.force_login(person(name), backend="django.contrib.auth.backends.ModelBackend")
    return client


def said(answer) -> str:
    """The message that the next page shows."""
    return " ".join(str(message) for message in answer.context["messages"])


# -- Who sees what -----------------------------------------------------------------------------

SEEN = {
    ORG: {"owner", "admin", "developer", "viewer"},
    f"{ORG}/members": {"owner", "admin", "developer", "viewer"},
    f"{ORG}/audit": {"owner", "admin"},
    f"{ORG}/settings": {"owner", "admin", "developer", "viewer"},
    f"{PROD}/keys": {"owner", "admin", "developer"},
    f"{PROD}/variables": {"owner", "admin", "developer"},
    f"{PROD}/settings": {"owner", "admin", "developer", "viewer"},
    f"{PROD}/start": {"owner", "admin", "developer", "viewer"},
}


@pytest.mark.parametrize("role", PEOPLE)
@pytest.mark.parametrize("path", SEEN)
def test_a_page_is_for_the_roles_that_it_is_for(path, role):
    answer = signed_in(PEOPLE[role]).get(path)
    assert answer.status_code == (200 if role in SEEN[path] else 403)


@pytest.mark.parametrize("path", SEEN)
def test_for_a_stranger_there_is_no_page(path):
    globex()
    assert signed_in("charlie").get(path).status_code == 404


@pytest.mark.parametrize("path", SEEN)
def test_who_is_not_signed_in_is_asked_to(path):
    acme()
    answer = Client().get(path)
    assert (answer.status_code, answer["Location"]) == (302, f"/sign-in?next={path}")


def test_a_page_offers_only_what_one_may_do():
    for name, offers in (("alice", True), ("bob", False)):
        html = signed_in(name).get(f"{ORG}/members").content.decode()
        assert ("Send the invite" in html) is offers
    for name, offers in (("alice", True), ("anna", False)):
        html = signed_in(name).get(f"{ORG}/settings").content.decode()
        assert ("Delete this organization" in html) is offers


# -- Members -----------------------------------------------------------------------------------


def test_an_admin_invites_somebody():
    answer = signed_in("anna").post(
        f"{ORG}/members", {"email": "dora@example.com", "role": "developer"}, follow=True
    )
    assert "dora@example.com gets an invite by mail" in said(answer)
    assert "dora@example.com" in answer.content.decode()
    assert Invite.objects.get().invited_by == person("anna")


def test_nobody_invites_above_their_own_role():
    answer = signed_in("anna").post(f"{ORG}/members", {"email": "d@example.com", "role": "owner"})
    assert "above your own" in answer.content.decode()
    assert not Invite.objects.exists()


def test_who_is_a_member_already_is_not_invited():
    answer = signed_in("alice").post(f"{ORG}/members", {"email": bob().email, "role": "viewer"})
    assert "is a member already" in answer.content.decode()


def test_an_invite_is_sent_again_and_revoked():
    client = signed_in("alice")
    made = invite_member(
        organization_as(acme(), alice()), email="dora@example.com", role="viewer", now=NOW
    )
    path = f"{ORG}/invites/{public_id('invite', made.invite_id)}"
    before = bytes(Invite.objects.get().digest)
    client.post(f"{path}/renewal")
    assert bytes(Invite.objects.get().digest) != before
    client.post(f"{path}/revocation")
    assert Invite.objects.get().revoked_at is not None
    assert client.post(f"{path}/renewal").status_code == 404


def test_a_role_is_changed_and_somebody_removed():
    client = signed_in("alice")
    path = f"{ORG}/members/{bob().public_id}"
    client.post(f"{path}/role", {"role": "admin"})
    assert Membership.objects.get(user=bob()).role == Role.ADMIN
    client.post(f"{path}/removal")
    assert not Membership.objects.filter(user=bob()).exists()


def test_the_last_owner_stays():
    client = signed_in("alice")
    answer = client.post(
        f"{ORG}/members/leaving", headers={"referer": "http://testserver" + ORG}, follow=True
    )
    assert "needs an owner" in said(answer)
    assert Membership.objects.filter(user=alice()).exists()


def test_a_member_leaves():
    client = signed_in("bob")
    assert client.post(f"{ORG}/members/leaving")["Location"] == "/"
    assert client.get(ORG).status_code == 404


CHANGES = {
    f"{ORG}/members": {"email": "x@example.com", "role": "viewer"},
    f"{ORG}/members/%(bob)s/role": {"role": "viewer"},
    f"{ORG}/members/%(bob)s/removal": {},
    f"{ORG}/settings": {"name": "Mine"},
    f"{ORG}/deletion": {"typed": "Acme"},
    f"{ORG}/projects": {"name": "Mine"},
    f"{PROD}/keys": {"name": "mine"},
    f"{PROD}/keys/rotation": {},
    f"{PROD}/variables": {"name": "MINE", "value": "1"},
    f"{PROD}/variables/import": {"text": "MINE=1"},
    f"{PROD}/variables/REGION/deletion": {},
    f"{PROD}/settings": {"name": "Mine"},
    f"{PROD}/settings/limits": {"concurrency_limit": "1", "weight": "2"},
    f"{PROD}/settings/pause": {},
    f"{PROD}/settings/deletion": {"typed": "Acme shop"},
}


_OF_ENVIRONMENTS = (Environment, EnvironmentKey, Variable)


def state() -> list[object]:
    return [
        list(model.objects.order_by("pk").values())
        for model in (Organization, Membership, Invite, Project, *_OF_ENVIRONMENTS)
    ]


@pytest.mark.parametrize("name", ["vera", "charlie", "nobody"])
@pytest.mark.parametrize("path", CHANGES)
def test_viewers_and_strangers_change_nothing(path, name):
    globex()
    set_variable(acme().scope, name="REGION", value="eu", now=NOW)
    client = Client() if name == "nobody" else signed_in(name)
    before = state()
    answer = client.post(path % {"bob": bob().public_id}, CHANGES[path])
    assert answer.status_code == {"nobody": 302, "charlie": 404, "vera": 403}[name]
    assert state() == before


def test_a_developer_leaves_alone_what_is_the_admins():
    client = signed_in("bob")
    for path in (f"{ORG}/deletion", f"{ORG}/projects", f"{PROD}/settings/deletion"):
        assert client.post(path, {"typed": "Acme", "name": "x"}).status_code == 403


# -- Organization and projects -----------------------------------------------------------------


def test_an_organization_is_renamed():
    signed_in("anna").post(f"{ORG}/settings", {"name": "Acme & Sons"})
    assert Organization.objects.get(slug="acme").name == "Acme & Sons"


@pytest.mark.parametrize("typed", ["", "acme", "Acme Inc."])
def test_an_organization_is_not_deleted_by_a_wrong_name(typed):
    answer = signed_in("alice").post(f"{ORG}/deletion", {"typed": typed})
    assert answer.status_code == 422
    assert Organization.objects.get(slug="acme").deleted_at is None


def test_an_owner_deletes_the_organization_by_its_name():
    client = signed_in("alice")
    secret = acme().secret
    answer = client.post(f"{ORG}/deletion", {"typed": "Acme"}, follow=True)
    assert answer.redirect_chain[-1][0] == "/welcome"
    assert client.get(ORG).status_code == 404
    credentials.forget()
    with pytest.raises(Exception, match="credential"):
        resolve_key(secret, now=NOW)


def test_a_project_is_started_renamed_and_deleted():
    client = signed_in("alice")
    answer = client.post(f"{ORG}/projects", {"name": "Blog"})
    assert answer["Location"] == "/orgs/acme/projects/blog/env/dev/start"
    client.post("/orgs/acme/projects/blog/env/prod/settings", {"name": "Journal"})
    assert Project.objects.get(slug="blog").name == "Journal"
    client.post("/orgs/acme/projects/blog/env/prod/settings/deletion", {"typed": "Journal"})
    assert Project.objects.get(slug="blog").archived_at is not None


def test_limits_and_pause_of_an_environment():
    client, production = signed_in("bob"), acme().production
    client.post(f"{PROD}/settings/limits", {"concurrency_limit": "7", "weight": "2.5"})
    client.post(f"{PROD}/settings/pause")
    production.refresh_from_db()
    assert (production.concurrency_limit, production.paused_at is not None) == (7, True)
    assert production.weight == 2.5
    assert 'value="2.5"' in client.get(f"{PROD}/settings").content.decode()
    client.post(f"{PROD}/settings/pause", {"answer": "resume"})
    production.refresh_from_db()
    assert production.paused_at is None


@pytest.mark.parametrize("limit", ["", "-1", "many", "1" * 40, "1.5", "²"])
def test_a_limit_is_a_whole_number(limit):
    client = signed_in("alice")
    answer = client.post(f"{PROD}/settings/limits", {"concurrency_limit": limit})
    assert answer.status_code == 422


@pytest.mark.parametrize("weight", ["0", "-1", "1001", "nan", "inf", "much"])
def test_a_weight_is_a_number_within_its_bounds(weight):
    client = signed_in("alice")
    answer = client.post(f"{PROD}/settings/limits", {"concurrency_limit": "7", "weight": weight})
    assert answer.status_code == 422
    assert not Environment.objects.exclude(concurrency_limit=100, weight=1).exists()


# -- Keys --------------------------------------------------------------------------------------


def test_a_new_key_is_shown_once():
    client = signed_in("alice")
    html = client.post(f"{PROD}/keys", {"name": "ci", "days": "30"}).content.decode()
    key = EnvironmentKey.objects.get(name="ci")
    assert f"…{key.hint[-4:]}" in html
    secret = html.partition("data-secret>")[2].partition("<")[0]
    assert resolve_key(secret, now=NOW).environment_id == acme().production.id
    assert secret not in client.get(f"{PROD}/keys").content.decode()


def test_the_main_key_is_replaced_and_shown_once():
    client = signed_in("alice")
    scope = user_scope(acme().production, alice(), Role.OWNER)
    before = current_key(scope)
    html = client.post(f"{PROD}/keys/rotation").content.decode()
    after = current_key(scope)
    assert after != before
    assert after in html
    again = client.get(f"{PROD}/keys").content.decode()
    assert after not in again
    assert "in grace" in again


def test_a_key_is_revoked():
    client = signed_in("alice")
    regenerate_key(user_scope(acme().production, alice(), Role.OWNER), now=NOW)
    client.post(f"{PROD}/keys", {"name": "ci"})
    key = EnvironmentKey.objects.get(name="ci")
    client.post(f"{PROD}/keys/{public_id('key', key.id)}/revocation")
    key.refresh_from_db()
    assert key.revoked_at is not None


def test_a_developer_manages_only_the_keys_of_their_own_development():
    client = signed_in("bob")
    assert client.post(f"{PROD}/keys/rotation").status_code == 403
    assert "Replace the main key" not in client.get(f"{PROD}/keys").content.decode()
    assert client.post(f"{DEV}/keys/rotation").status_code == 200
    assert "Replace the main key" in client.get(f"{DEV}/keys").content.decode()


# -- Variables ---------------------------------------------------------------------------------


def test_a_variable_is_added_changed_and_deleted():
    client = signed_in("bob")
    client.post(f"{PROD}/variables", {"name": "REGION", "value": "eu", "is_new": "on"})
    html = client.get(f"{PROD}/variables").content.decode()
    assert "REGION" in html
    client.post(f"{PROD}/variables", {"name": "REGION", "value": " us\r\nwest "})
    assert " us\nwest " in client.get(f"{PROD}/variables").content.decode()
    client.post(f"{PROD}/variables/REGION/deletion")
    assert not Variable.objects.exists()


def test_a_secret_is_never_shown():
    client = signed_in("alice")
    new = {"name": "PASSWORD", "value": "hush-hush", "is_secret": "on", "is_new": "on"}
    answer = client.post(f"{PROD}/variables", new, follow=True)
    assert "hush-hush" not in answer.content.decode()


@pytest.mark.parametrize("name", ["1ST", "A B", "HOLDFAST_X", "ÄTSCH"])
def test_a_wrong_name_is_explained(name):
    answer = signed_in("alice").post(f"{PROD}/variables", {"name": name, "value": "", "is_new": 1})
    assert answer.status_code == 200
    assert 'role="alert"' in answer.content.decode()
    assert not Variable.objects.exists()


def test_adding_a_variable_does_not_overwrite_one():
    client = signed_in("alice")
    set_variable(acme().scope, name="REGION", value="eu", now=NOW)
    answer = client.post(f"{PROD}/variables", {"name": "REGION", "value": "us", "is_new": "on"})
    assert "update it instead" in answer.content.decode()


def test_a_env_file_is_imported():
    client = signed_in("alice")
    set_variable(acme().scope, name="REGION", value="eu", now=NOW)
    text = '# ours\nexport REGION=us\nDEBUG="a\\nb"\n'
    answer = client.post(f"{PROD}/variables/import", {"text": text}, follow=True)
    assert "1 variable imported" in said(answer)
    answer = client.post(f"{PROD}/variables/import", {"text": text, "override": "on"}, follow=True)
    assert "2 variables imported" in said(answer)


# -- Audit log ---------------------------------------------------------------------------------


def test_the_log_names_who_did_what():
    client = signed_in("alice")
    client.post(f"{PROD}/variables", {"name": "REGION", "value": "eu", "is_new": "on"})
    set_variable(acme().scope, name="DEBUG", value="1", now=NOW)
    html = client.get(f"{ORG}/audit", {"about": "variables"}).content.decode()
    assert html.count("variables.set") == 2
    assert "Alice" in html
    assert "tr_prod_…" in html
    assert "member.joined" not in html


def test_the_log_is_exported():
    client = signed_in("alice")
    client.post(f"{ORG}/settings", {"name": "=Acme"})
    rows = json.loads(client.get(f"{ORG}/audit", {"export": "json"}).content)
    assert rows[0]["action"] == "organization.renamed"
    lines = client.get(f"{ORG}/audit", {"export": "csv", "about": "organization"}).content.decode()
    assert lines.splitlines()[0] == "at,by,kind,action,target,detail"
    assert "organization.renamed" in lines


def test_the_log_costs_as_much_for_many_entries_as_for_few(django_assert_max_num_queries):
    client = signed_in("alice")
    for number in range(60):
        set_variable(acme().scope, name=f"V{number}", value="", now=NOW)
    client.get(f"{ORG}/audit")  # notes the session
    with django_assert_max_num_queries(12):
        html = client.get(f"{ORG}/audit").content.decode()
    assert "after=audit_" in html


@pytest.mark.parametrize("query", ["about=x", "by=nobody", "since=x&until=2026-99-99", "q=%00"])
def test_what_the_address_says_wrongly_is_left_out(query):
    assert signed_in("alice").get(f"{ORG}/audit?{query}").status_code == 200


def test_a_cursor_that_is_none_is_the_beginning():
    assert signed_in("alice").get(f"{ORG}/audit?after=x").status_code == 200


# -- First steps -------------------------------------------------------------------------------


def test_somebody_new_founds_an_organization_and_gets_to_the_first_steps():
    client = Client()
    client.force_login(charlie(), backend="django.contrib.auth.backends.ModelBackend")
    assert client.get("/", follow=True).redirect_chain[-1][0] == "/welcome"
    answer = client.post("/welcome", {"organization": "Globex", "project": "Shop"})
    assert answer["Location"] == "/orgs/globex/projects/shop/env/dev/start"
    html = client.get(answer["Location"]).content.decode()
    assert "tr_dev_" in html


@pytest.mark.parametrize(
    "names", [{}, {"organization": "x"}, {"organization": " ", "project": " "}]
)
def test_both_names_are_needed(names):
    client = Client()
    client.force_login(charlie(), backend="django.contrib.auth.backends.ModelBackend")
    assert client.post("/welcome", names).status_code == 200
    assert not Organization.objects.exists()


def test_the_steps_are_ticked_off_as_they_happen():
    client, production = signed_in("alice"), acme().production
    scope = user_scope(production, alice(), Role.OWNER)

    def done() -> int:
        headers = {"hx-request": "true"}
        html: str = client.get(f"{PROD}/start", headers=headers).content.decode()
        return html.count("data-done")

    assert done() == 0
    trigger_run(scope, request=TriggerRequest(task="hello"), now=NOW)
    assert done() == 1


def test_a_viewer_sees_no_key_among_the_first_steps():
    html = signed_in("vera").get(f"{PROD}/start").content.decode()
    assert acme().secret not in html
