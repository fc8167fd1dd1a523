"""Keys, limits and branches of an environment; a person's own tokens and sessions."""

from datetime import timedelta

import pytest
from allauth.usersessions.models import UserSession
from django.test import Client

from apps.core import clock
from apps.environments import credentials
from apps.environments.models import EnvironmentKey
from apps.orgs.models import AuditEntry
from tests import factories
from tests.api.client import Api


@pytest.fixture
def path(acme):
    return f"/api/v1/projects/{acme.project.ref}"


@pytest.fixture
def bob(acme):
    """A developer at Acme, by a personal token."""
    return Api(factories.personal_token(factories.bob()))


def test_a_key_is_made_shown_once_and_revoked(alice, path):
    made = alice.post(
        f"{path}/prod/api-keys", {"name": "ci", "expirationTime": "90d"}
    ).ok()  # fmt: skip
    main, named = alice.get(f"{path}/prod/api-keys").ok()

    assert Api(made["apiKey"]).get("/api/v1/runs").status == 200
    assert (main["name"], named["name"], named["id"]) == ("", "ci", made["id"])
    assert named["obfuscatedKey"] == made["obfuscatedKey"]
    key = EnvironmentKey.objects.get(name="ci")
    assert key.expires_at - key.created_at == timedelta(days=90)
    assert "apiKey" not in named
    assert alice.delete(f"{path}/prod/api-keys/{made['id']}").ok() == {"success": True}
    credentials.forget()  # as its commit does
    assert Api(made["apiKey"]).get("/api/v1/runs").status == 401
    actions = AuditEntry.objects.filter(action__startswith="key.").order_by("id")
    assert [entry.action for entry in actions] == ["key.created", "key.revoked"]


def test_a_replaced_key_is_listed_in_its_grace_and_may_be_ended(alice, acme, path):
    alice.post(f"{path}/prod/regenerate-api-key").ok()
    main, replaced = alice.get(f"{path}/prod/api-keys").ok()

    assert "expiresAt" not in main
    assert replaced["expiresAt"]
    assert alice.delete(f"{path}/prod/api-keys/{main['id']}").status == 422
    assert alice.delete(f"{path}/prod/api-keys/{replaced['id']}").ok()
    assert Api(acme.secret).get("/api/v1/runs").status == 401


def test_a_developer_makes_keys_for_their_own_environment_only(bob, path):
    assert bob.post(f"{path}/dev/api-keys", {"name": "mine"}).ok()["apiKey"].startswith("tr_dev_")
    assert bob.post(f"{path}/prod/api-keys", {"name": "mine"}).status == 403
    assert len(bob.get(f"{path}/prod/api-keys").ok()) == 1


@pytest.mark.parametrize(
    "body", [{"name": ""}, {}, {"name": "ci", "expirationTime": "soon"}, {"name": "x" * 101}]
)
def test_what_is_no_key_is_refused(alice, path, body):
    assert alice.post(f"{path}/prod/api-keys", body).status in (400, 422)


def test_an_environment_says_and_takes_its_limit(alice, path):
    changed = alice.put(f"{path}/prod/limits", {"concurrencyLimit": 7}).ok()
    listed = {e["slug"]: e for e in alice.get(f"{path}/environments").ok()}

    assert changed["concurrencyLimit"] == listed["prod"]["concurrencyLimit"] == 7
    assert changed["weight"] == listed["dev"]["weight"] == 1
    changed = alice.put(f"{path}/prod/limits", {"weight": 2.5}).ok()
    assert (changed["concurrencyLimit"], changed["weight"]) == (7, 2.5)
    assert (listed["dev"]["type"], listed["prod"]["paused"]) == ("development", False)
    alice.post(f"{path}/prod/pause").ok()
    assert {e["slug"]: e["paused"] for e in alice.get(f"{path}/environments").ok()}["prod"]
    assert alice.get(f"{path}/prod/concurrency").ok() == {
        "organization": {"used": 0},
        "environment": {"used": 0, "limit": 7},
        "base": 7,
        "burstFactor": 1.0,
    }


@pytest.mark.parametrize("limit", [-1, 1_000_001, "7", None])
def test_what_is_no_limit_is_refused(alice, path, limit):
    assert alice.put(f"{path}/prod/limits", {"concurrencyLimit": limit}).status == 400


@pytest.mark.parametrize("weight", [0, -1, 1_001, 10**400, "2", True, [], None])
def test_what_is_no_weight_is_refused(alice, path, weight):
    assert alice.put(f"{path}/prod/limits", {"weight": weight}).status == 400


def test_a_limit_and_a_weight_are_in_the_audit_log_once_each(alice, acme, path):
    for _ in range(2):
        alice.put(f"{path}/prod/limits", {"concurrencyLimit": 7, "weight": 3}).ok()
    entries = AuditEntry.objects.filter(target_id=str(acme.production.pk)).order_by("id")
    assert [(entry.action, entry.detail) for entry in entries] == [
        ("environment.limit_changed", {"before": 100, "after": 7}),
        ("environment.weight_changed", {"before": 1.0, "after": 3.0}),
    ]


def test_a_branch_is_made_once_and_put_away(alice, acme, path):
    branch = {"env": "preview", "branch": "feature/cart"}
    made = alice.post(f"{path}/branches", branch).ok()

    assert (made["branch"], made["slug"]) == ("feature/cart", "preview")
    assert alice.post(f"{path}/branches", {"branch": "feature/cart"}).ok()["id"] == made["id"]
    assert [b["id"] for b in alice.get(f"{path}/branches").ok()] == [made["id"]]
    assert alice.get(f"{path}/branches", {"env": "dev"}).ok() == []
    on_branch = {"x_trigger_branch": "feature/cart"}
    assert alice.get(f"{path}/preview", **on_branch).ok()["apiKey"] == acme.keys["preview"]
    # Also when the request itself names the branch, as command lines do.
    assert alice.post(f"{path}/branches/archive", branch, **on_branch).ok() == {"success": True}
    assert alice.post(f"{path}/branches/archive", branch).status == 404
    assert alice.get(f"{path}/branches").ok() == []


def test_a_key_of_preview_makes_branches_and_one_of_production_does_not(acme, path):
    branch = {"branch": "main"}

    assert Api(acme.keys["preview"]).post(f"{path}/branches", branch).ok()["branch"] == "main"
    assert Api(acme.secret).post(f"{path}/branches", branch).status == 404


def test_a_branch_is_named_as_git_does(alice, path):
    assert alice.post(f"{path}/branches", {"branch": "../x"}).status == 422
    assert alice.post(f"{path}/branches", {"branch": "x", "env": "prod"}).status == 400


def test_charlie_finds_no_environment_of_acme(charlie_in_person, path):
    for answer in (
        charlie_in_person.get(f"{path}/environments"),
        charlie_in_person.put(f"{path}/prod/limits", {"concurrencyLimit": 0}),
        charlie_in_person.get(f"{path}/prod/concurrency"),
        charlie_in_person.get(f"{path}/prod/api-keys"),
        charlie_in_person.post(f"{path}/prod/api-keys", {"name": "mine"}),
        charlie_in_person.get(f"{path}/branches"),
        charlie_in_person.post(f"{path}/branches", {"branch": "mine"}),
        charlie_in_person.post(f"{path}/branches/archive", {"branch": "mine"}),
    ):
        assert answer.status == 404


def test_a_personal_token_is_made_used_and_revoked(alice):
    made = alice.post("/api/v1/account/tokens", {"name": "ci", "expirationTime": "30d"}).ok()
    second = Api(made["token"])
    listed = {t["name"]: t for t in second.get("/api/v1/account/tokens").ok()}

    assert listed["ci"]["id"] == made["id"]
    assert listed["ci"]["obfuscatedToken"] == made["obfuscatedToken"]
    assert listed["ci"]["usedAt"]
    assert "expiresAt" not in listed["laptop"]
    assert made["token"] not in str(listed)
    assert alice.delete(f"/api/v1/account/tokens/{made['id']}").ok() == {"success": True}
    assert second.get("/api/v1/account/tokens").status == 401


@pytest.mark.parametrize("body", [{"name": ""}, {}, {"name": "ci", "expirationTime": "0s"}])
def test_what_is_no_token_is_refused(alice, body):
    assert alice.post("/api/v1/account/tokens", body).status in (400, 422)


def test_nobody_ends_anothers_token(charlie_in_person, alice):
    made = alice.post("/api/v1/account/tokens", {"name": "ci"}).ok()

    assert charlie_in_person.delete(f"/api/v1/account/tokens/{made['id']}").status == 404
    assert Api(made["token"]).get("/api/v1/account/tokens").status == 200


def test_a_person_renames_themselves(alice):
    assert alice.patch("/api/v1/account", {"name": " Alice  A. "}).ok() == {
        "userId": factories.alice().public_id,
        "email": "alice@example.com",
        "name": "Alice A.",
    }
    assert alice.patch("/api/v1/account", {"name": "x" * 101}).status == 422


def browser(user, agent):
    """Somebody signed in in a browser."""
    client, now = Client(), clock.now()
    client.force_login(user)
    return UserSession.objects.create(
        user=user, ip="127.0.0.1", user_agent=agent, session_key=client.session.session_key,
        created_at=now, last_seen_at=now,
    )  # fmt: skip


def test_sessions_are_listed_and_ended(alice, charlie_in_person):
    kept = browser(factories.charlie(), "Firefox")
    sessions = [browser(factories.alice(), agent) for agent in ("Firefox", "Safari", "Chrome")]
    listed = alice.get("/api/v1/account/sessions").ok()

    assert {s["userAgent"] for s in listed} == {"Firefox", "Safari", "Chrome"}
    assert {s["ip"] for s in listed} == {"127.0.0.1"}
    assert charlie_in_person.delete(f"/api/v1/account/sessions/{sessions[0].pk}").status == 404
    assert alice.delete(f"/api/v1/account/sessions/{sessions[0].pk}").ok() == {"success": True}
    assert alice.delete("/api/v1/account/sessions").ok() == {"ended": 2}
    assert list(UserSession.objects.all()) == [kept]
    for odd in ("x", "-1", "9" * 40):
        assert alice.delete(f"/api/v1/account/sessions/{odd}").status == 404


def test_a_key_has_no_account(api):
    for path in ("/api/v1/account/tokens", "/api/v1/account/sessions"):
        assert api.get(path).status == 401
    assert api.patch("/api/v1/account", {"name": "x"}).status == 401
