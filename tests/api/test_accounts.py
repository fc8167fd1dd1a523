import pytest

from apps.accounts.operations.login import approve_code
from apps.core import clock
from tests import factories
from tests.api.client import Api

VERIFIER = "a-verifier-that-is-long-enough-to-be-one-0123456789"
CHALLENGE = "IdFsue1MJJJtybEPX0invmHHuW1I7Ai5LXVlXpENjsk"


@pytest.mark.parametrize("path", ["/api/v2/whoami", "/api/v1/whoami"])
def test_whoami_is_the_person(alice, path):
    user = factories.alice()

    assert alice.get(path).ok() == {
        "userId": user.public_id,
        "email": "alice@example.com",
        "dashboardUrl": "http://testserver",
    }


def test_whoami_describes_a_project_of_the_person(alice, acme):
    project = alice.get("/api/v2/whoami", {"projectRef": acme.project.ref}).ok()["project"]

    assert (project["name"], project["orgTitle"]) == ("Acme shop", "Acme")


def test_whoami_describes_no_project_of_others(charlie_in_person, acme):
    assert charlie_in_person.get("/api/v2/whoami", {"projectRef": acme.project.ref}).status == 404


def test_a_login_is_begun_approved_and_redeemed_once(nobody):
    begun = nobody.post("/api/v1/authorization-code").ok()
    redeem = {"authorizationCode": begun["authorizationCode"]}
    text = {"content_type": "text/plain;charset=UTF-8"}  # as the public command line says

    assert begun["url"] == (
        f"http://testserver/account/authorization-code/{begun['authorizationCode']}"
    )
    assert nobody.post("/api/v1/token", redeem, **text).ok() == {"token": None}
    approve_code(factories.alice(), code=begun["authorizationCode"], now=clock.now())
    token = nobody.post("/api/v1/token", redeem, **text).ok()["token"]

    assert token["token"].startswith("tr_pat_")
    assert token["obfuscatedToken"].startswith("tr_pat_…")
    assert Api(token["token"]).get("/api/v2/whoami").ok()["email"] == "alice@example.com"
    again = nobody.post("/api/v1/token", redeem)
    assert (again.status, again.error) == (
        400,
        "This code is unknown, expired or already used: run the login command again",
    )


def test_a_login_with_a_challenge_is_redeemed_by_its_maker_only(nobody):
    begun = nobody.post(
        "/api/v1/authorization-code", {"codeChallenge": CHALLENGE, "codeChallengeMethod": "S256"}
    ).ok()
    redeem = {"authorizationCode": begun["authorizationCode"]}
    approve_code(factories.alice(), code=begun["authorizationCode"], now=clock.now())

    assert nobody.post("/api/v1/token", {**redeem, "codeVerifier": "wrong"}).status == 400
    assert nobody.post("/api/v1/token", {**redeem, "codeVerifier": VERIFIER}).ok()["token"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/v1/authorization-code", {"codeChallenge": "short"}),
        ("/api/v1/authorization-code", {"codeChallengeMethod": "plain"}),
        ("/api/v1/token", {}),
        ("/api/v1/token", {"authorizationCode": "unknown"}),
        ("/api/v1/token", {"authorizationCode": "x" * 300}),
    ],
)
def test_a_malformed_login_is_400(nobody, path, body):
    assert nobody.post(path, body).status == 400
