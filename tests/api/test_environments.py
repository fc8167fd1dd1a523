import jwt
import pytest

from apps.core.ids import public_id
from apps.orgs.roles import Role
from tests import factories
from tests.api import scenes
from tests.api.client import Api


@pytest.fixture
def path(acme):
    return f"/api/v1/projects/{acme.project.ref}"


def test_a_person_gets_the_key_of_an_environment(alice, acme, path):
    access = alice.get(f"{path}/prod").ok()

    assert access == {
        "apiKey": acme.secret,
        "name": acme.project.name,
        "apiUrl": "http://testserver",
        "projectId": public_id("proj", acme.project.id),
    }
    assert Api(access["apiKey"]).get("/api/v1/runs").status == 200


def test_dev_is_everybodys_own(alice, acme, path):
    bob = Api(factories.personal_token(factories.bob()))

    own = bob.get(f"{path}/dev").ok()["apiKey"]

    assert own.startswith("tr_dev_")
    assert own != alice.get(f"{path}/dev").ok()["apiKey"]
    assert own == bob.get(f"{path}/dev").ok()["apiKey"]


def test_a_branch_has_the_key_of_its_parent(alice, acme, path):
    factories.branch(acme, "feature/cart")

    assert (
        alice.get(f"{path}/preview", x_trigger_branch="feature/cart").ok()["apiKey"]
        == acme.keys["preview"]
    )
    assert alice.get(f"{path}/preview", x_trigger_branch="none").status == 404


def test_a_viewer_gets_no_key(acme, path):
    viewer = factories.person("vera")
    factories.member(acme.organization, viewer, Role.VIEWER)

    assert Api(factories.personal_token(viewer)).get(f"{path}/prod").status == 403


def test_a_paused_environment_starts_nothing_until_it_is_resumed(api, alice, acme, path):
    scenes.version(acme.scope)
    run = scenes.run(api)

    assert alice.post(f"{path}/prod/pause").ok() == {"success": True, "paused": True}
    assert api.get(f"/api/v3/runs/{run}").ok()["reason"] == "Its environment is paused."
    assert alice.post(f"{path}/prod/resume").ok() == {"success": True, "paused": False}
    assert api.get(f"/api/v3/runs/{run}").ok()["reason"] != "Its environment is paused."


def test_a_new_key_works_and_the_old_one_too_for_a_day(alice, acme, path):
    made = alice.post(f"{path}/prod/regenerate-api-key").ok()["apiKey"]

    assert made != acme.secret
    assert Api(made).get("/api/v1/runs").status == 200
    assert Api(acme.secret).get("/api/v1/runs").status == 200


def test_a_key_neither_replaces_itself_nor_pauses_its_environment(api, path):
    assert api.post(f"{path}/prod/regenerate-api-key").status == 401
    for verb in ("pause", "resume"):
        answer = api.post(f"{path}/prod/{verb}")
        assert (answer.status, answer.error) == (
            403,
            "This needs the permission environments:write, which your credential does not have",
        )


def test_claims_let_the_holder_of_the_key_sign(api, acme):
    claims = api.post("/api/v1/auth/jwt/claims").ok()

    assert claims == {"sub": acme.production.public_id, "pub": True}


def test_a_public_token_is_signed_here_too(api, acme, alice, path):
    body = {"claims": {"scopes": ["read:runs"]}, "expirationTime": "1h"}

    for answer in (
        api.post("/api/v1/auth/jwt", body),
        api.post(f"{path}/prod/jwt", body),
        alice.post(f"{path}/prod/jwt", body),
    ):
        token = answer.ok()["token"]
        claims = jwt.decode(token, options={"verify_signature": False})
        assert claims["exp"] - claims["iat"] == 3600
        assert Api(token).get("/api/v1/runs").status == 200


@pytest.mark.parametrize("lifetime", ["soon", "800d"])
def test_a_lifetime_must_be_one(api, lifetime):
    assert api.post("/api/v1/auth/jwt", {"expirationTime": lifetime}).status == 422


def test_charlie_reaches_no_environment_of_acme(charlie, charlie_in_person, path):
    assert charlie_in_person.get(f"{path}/prod").status == 404
    assert charlie_in_person.get(f"{path}/dev").status == 404
    assert charlie_in_person.post(f"{path}/prod/regenerate-api-key").status == 404
    for stranger in (charlie, charlie_in_person):
        assert stranger.post(f"{path}/prod/pause").status == 404
        assert stranger.post(f"{path}/prod/resume").status == 404
        assert stranger.post(f"{path}/prod/jwt", {}).status == 404
