from datetime import UTC, datetime, timedelta

import jwt
import pytest

from apps.core.ids import public_id
from apps.environments.models import EnvironmentKey
from apps.environments.public_tokens import AUDIENCE, ISSUER
from apps.orgs.roles import Role
from tests import factories
from tests.api.client import Api


def token_for(tenant, *, secret=None, **changes):
    """A public token as the clients sign it."""
    claims = {
        "sub": public_id("env", tenant.production.id),
        "pub": True,
        "scopes": ["read:runs"],
        "iss": ISSUER,
        "aud": AUDIENCE,
        "exp": datetime.now(UTC) + timedelta(minutes=15),
    } | changes
    kept = {name: value for name, value in claims.items() if value is not None}
    key = (secret or tenant.secret).encode().ljust(32, b"\0")
    return jwt.encode(kept, key, algorithm="HS256")


def test_a_secret_key_opens_its_environment(api):
    assert api.get("/api/v1/runs").ok()["data"] == []


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic dXNlcjpwYXNz",
        "Bearer tr_prod_unknown0000000000000000",
        "Bearer tr_pat_unknown00000000000000000",
        "Bearer tr_",
        "Bearer " + "tr_prod_" + "x" * 10_000,
    ],
)
def test_anything_else_is_401_in_the_words_that_clients_know(db, authorization):
    answer = Api(None).get("/api/v1/runs", authorization=authorization)

    assert (answer.status, answer.error) == (401, "Invalid or Missing API key")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_no_credential_is_401(nobody):
    answer = nobody.get("/api/v1/runs")

    assert (answer.status, answer.error) == (401, "Invalid or Missing API key")


def test_a_revoked_key_is_401(acme, api):
    EnvironmentKey.objects.filter(environment=acme.staging).update(
        revoked_at=factories.NOW, expires_at=factories.NOW
    )

    assert Api(acme.keys["staging"]).get("/api/v1/runs").status == 401


def test_a_personal_token_does_not_open_what_is_for_keys(alice):
    answer = alice.get("/api/v1/runs")

    assert (answer.status, answer.error) == (401, "Invalid or Missing API key")


def test_a_key_does_not_open_what_is_for_people(api, acme):
    assert api.get("/api/v2/whoami").status == 401
    assert api.get(f"/api/v1/projects/{acme.project.ref}/runs").status == 401


def test_a_public_token_that_the_client_signed_opens_what_its_scopes_say(acme):
    assert Api(token_for(acme)).get("/api/v1/runs").ok()["data"] == []


def test_a_public_token_of_a_branch_is_signed_with_the_key_of_its_parent(acme):
    branch = factories.branch(acme)
    token = token_for(acme, secret=acme.keys["preview"], sub=public_id("env", branch.id))

    assert Api(token).get("/api/v1/runs").status == 200


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pub": None}, "Invalid public token: it does not say that it is public"),
        ({"pub": "true"}, "Invalid public token: it does not say that it is public"),
        ({"sub": "env_nonsense"}, "Invalid public token: it is malformed"),
        ({"iss": "https://elsewhere.example"}, "Invalid public token: Invalid issuer"),
        ({"aud": "https://elsewhere.example"}, "Invalid public token: Audience doesn't match"),
        ({"exp": None}, 'Invalid public token: Token is missing the "exp" claim'),
        ({"exp": datetime(2020, 1, 1, tzinfo=UTC)}, "Invalid public token: it has expired"),
        ({"scopes": "read:runs"}, "Invalid public token: its scopes are not a list of strings"),
        (
            {"secret": "tr_prod_anotherkey00000000000000"},
            "Invalid public token: it was not signed with a key of its environment",
        ),
    ],
)
def test_a_bad_public_token_is_401_and_says_why(acme, changes, message):
    answer = Api(token_for(acme, **changes)).get("/api/v1/runs")

    assert (answer.status, answer.error) == (401, message)


@pytest.mark.parametrize("algorithm", ["none", "HS512"])
def test_another_algorithm_is_refused(acme, algorithm):
    claims = {
        "sub": public_id("env", acme.production.id), "pub": True, "scopes": ["admin"],
        "iss": ISSUER, "aud": AUDIENCE, "exp": datetime.now(UTC) + timedelta(minutes=15),
    }  # fmt: skip
    key = "" if algorithm == "none" else acme.secret.ljust(64, "\0")

    assert Api(jwt.encode(claims, key, algorithm=algorithm)).get("/api/v1/runs").status == 401


def test_a_key_of_another_tenant_cannot_sign_for_this_one(acme):
    token = token_for(acme, secret=factories.globex().secret, scopes=["admin"])

    assert Api(token).get("/api/v1/runs").status == 401


def test_a_public_token_without_the_scope_is_403_as_clients_expect_it(acme):
    answer = Api(token_for(acme, scopes=["read:batch:batch_1"])).post(
        "/api/v1/tasks/resize/trigger"
    )

    assert answer.status == 403
    assert answer.body == {
        "error": "Unauthorized: this token needs one of the scopes trigger:tasks:resize",
        "code": "unauthorized",
        "param": "access_token",
        "type": "authorization",
    }


def test_a_public_token_is_not_taken_where_only_keys_are(acme):
    answer = Api(token_for(acme, scopes=["admin"])).post("/api/v1/runs/run_1/replay")

    assert (answer.status, answer.error) == (403, "Unauthorized: public tokens are not taken here")


def test_a_branch_header_is_ignored_where_there_are_no_branches(api):
    assert api.get("/api/v1/runs", x_trigger_branch="feature/cart").status == 200


def test_a_preview_key_with_a_branch_opens_the_branch(acme):
    branch = factories.branch(acme, "feature/cart")
    preview = Api(acme.keys["preview"])

    claims = preview.post("/api/v1/auth/jwt/claims", x_trigger_branch="feature/cart").ok()

    assert claims == {"sub": public_id("env", branch.id), "pub": True}
    assert preview.get("/api/v1/runs", x_trigger_branch="feature/none").status == 404


def test_a_person_acts_in_the_environment_that_they_name(alice, acme):
    place = {"x_holdfast_project": acme.project.ref, "x_holdfast_environment": "prod"}

    assert alice.get("/api/v1/queues").status == 401
    assert alice.get("/api/v1/queues", x_holdfast_environment="prod").status == 401
    assert alice.get("/api/v1/queues", **place).ok()["data"] == []
    made = alice.post("/api/v1/waitpoints/tokens", {"timeout": "1h"}, **place).ok()
    assert Api(acme.secret).get(f"/api/v1/waitpoints/tokens/{made['id']}").status == 200
    assert alice.get("/api/v1/queues", **{**place, "x_holdfast_environment": "moon"}).status == 404


def test_a_viewer_in_an_environment_only_looks(acme):
    vera = factories.person("vera")
    factories.member(acme.organization, vera, Role.VIEWER)
    place = {"x_holdfast_project": acme.project.ref, "x_holdfast_environment": "prod"}
    viewer = Api(factories.personal_token(vera))

    assert viewer.get("/api/v1/runs", **place).ok()["data"] == []
    answer = viewer.post("/api/v1/tasks/resize/trigger", {}, **place)
    assert (answer.status, "runs:trigger" in answer.error) == (403, True)


def test_nobody_is_placed_where_they_are_no_member(charlie_in_person, acme):
    place = {"x_holdfast_project": acme.project.ref, "x_holdfast_environment": "prod"}

    assert charlie_in_person.get("/api/v1/runs", **place).status == 404
    assert charlie_in_person.post("/api/v1/tasks/resize/trigger", {}, **place).status == 404


def test_what_only_programs_ask_is_no_persons(alice, acme):
    place = {"x_holdfast_project": acme.project.ref, "x_holdfast_environment": "prod"}

    assert alice.get(f"/api/v1/projects/{acme.project.ref}/envvars", **place).status == 401
    assert alice.post("/api/v1/auth/jwt", {}, **place).status == 401
