"""What people may do beside running tasks, from the terminal: what is sent, shown and refused."""

from __future__ import annotations

import csv
import io

import pytest

from packages.holdfast.tests.cli.conftest import Cli
from packages.holdfast.tests.client.stub import ACCESS_TOKEN, AT, PROJECT, SECRET_KEY, Answer, Stub

ACME = {"id": "org_1", "title": "Acme", "slug": "acme", "createdAt": AT}
SHOP = {
    "id": PROJECT, "externalRef": PROJECT, "name": "Shop", "slug": "shop", "createdAt": AT,
    "organization": ACME,
}  # fmt: skip
BOB = {"id": "user_2", "email": "bob@example.com", "name": "Bob", "role": "developer"}
KEY = {"id": "key_1", "name": "ci", "obfuscatedKey": "tr_prod_…wxyz", "createdAt": AT}
ENTRY = {
    "id": "audit_1",
    "at": AT,
    "actor": {"kind": "user", "id": "user_2", "name": "=Bob"},
    "action": "member.left",
    "target": {"type": "user", "id": "user_2"},
    "detail": {"role": "viewer"},
}


def test_a_member_is_named_by_their_address_in_the_projects_organization(alice: Cli, stub: Stub):
    stub.script(Answer(body=SHOP), Answer(body=[BOB]), Answer(body={**BOB, "role": "admin"}))
    done = alice("members", "role", "Bob@example.com", "admin", "--json")
    assert (done.code, done.json["role"]) == (0, "admin")
    project, members, changed = stub.requests
    assert (project.path, members.path) == (
        f"/api/v1/projects/{PROJECT}", "/api/v1/orgs/acme/members",
    )  # fmt: skip
    assert (changed.method, changed.path) == ("PATCH", "/api/v1/orgs/acme/members/user_2")
    assert changed.json == {"role": "admin"}
    assert changed.headers["authorization"] == f"Bearer {ACCESS_TOKEN}"


def test_without_a_project_the_only_organization_is_meant(stranger: Cli, stub: Stub):
    stranger.variables["HOLDFAST_ACCESS_TOKEN"] = ACCESS_TOKEN
    stub.script(Answer(body=[ACME]), Answer(body=[BOB]))
    done = stranger("members", "list")
    assert done.code == 0, done.err
    assert "bob@example.com" in done.out
    stub.script(Answer(body=[ACME, {**ACME, "slug": "globex"}]))
    asked = stranger("members", "list")
    assert (asked.code, "--org SLUG (acme, globex)" in asked.err) == (2, True)


@pytest.mark.parametrize(
    "words",
    [
        ["orgs", "delete", "acme"],
        ["orgs", "leave", "acme"],
        ["projects", "delete"],
        ["members", "remove", "user_2", "--org", "acme"],
        ["branches", "archive", "main"],
        ["keys", "rotate"],
        ["sessions", "end", "--all"],
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_nothing_is_gone_before_somebody_is_sure(alice: Cli, stub: Stub, words: list[str]):
    done = alice(*words)
    assert (done.code, done.err.count("\n"), "--yes" in done.err) == (2, 1, True)
    assert stub.requests == []


def test_who_is_sure_is_not_asked(alice: Cli, stub: Stub):
    stub.script(Answer(body={"success": True}))
    assert alice("projects", "delete", "--yes").code == 0
    (request,) = stub.requests
    assert (request.method, request.path) == ("DELETE", f"/api/v1/projects/{PROJECT}")


def test_a_refusal_is_one_line_and_a_code(alice: Cli, stub: Stub):
    refusal = {"error": "An organization needs an owner", "code": "last_owner"}
    stub.script(Answer(status=409, body=refusal, headers={"x-should-retry": "false"}))
    done = alice("orgs", "leave", "acme", "--yes")
    assert (done.code, done.err) == (5, "error: An organization needs an owner\n")


def test_a_new_key_is_printed_once_and_its_name_revokes_it(alice: Cli, stub: Stub):
    made = {"id": "key_1", "obfuscatedKey": "tr_prod_…wxyz", "apiKey": "tr_prod_abcwxyz"}
    stub.script(Answer(body=made))
    done = alice("keys", "create", "ci", "--expires-in", "90d", "--env", "prod")
    assert (done.code, "tr_prod_abcwxyz" in done.out) == (0, True)
    (request,) = stub.requests
    assert request.path == f"/api/v1/projects/{PROJECT}/prod/api-keys"
    assert request.json == {"name": "ci", "expirationTime": "90d"}
    stub.script(Answer(body=[KEY]), Answer(body={"success": True}))
    assert alice("keys", "revoke", "ci", "--yes", "--env", "prod").code == 0
    assert stub.requests[-1].path.endswith("/prod/api-keys/key_1")
    stub.script(Answer(body=[KEY, {**KEY, "id": "key_2"}]))
    unsure = alice("keys", "revoke", "ci", "--yes", "--env", "prod")
    assert (unsure.code, "more than one key" in unsure.err) == (4, True)


def test_the_log_is_filtered_and_fit_for_a_spreadsheet(alice: Cli, stub: Stub):
    stub.script(Answer(body={"data": [ENTRY], "pagination": {"next": "more"}}))
    words = ("--org", "acme", "--about", "member", "--by", "user_2", "--since", "2026-11-01T00:00Z")
    done = alice("audit", "list", *words, "--limit", "1", "--csv")
    assert done.code == 0, done.err
    (row,) = csv.DictReader(io.StringIO(done.out))
    assert (row["action"], row["by"], row["detail"]) == (
        "member.left", "'=Bob", '{"role": "viewer"}',
    )  # fmt: skip
    (request,) = stub.requests
    assert request.query == {
        "filter[about]": "member",
        "filter[user]": "user_2",
        "filter[createdAt][from]": "2026-11-01T00:00:00+00:00",
        "page[size]": "1",
    }


def test_a_branch_is_said_with_every_call(alice: Cli, cli: Cli, stub: Stub):
    del alice.variables["HOLDFAST_SECRET_KEY"]
    assert alice("runs", "list", "--branch", "feature/cart").code == 0
    access, runs = stub.requests
    assert access.path == f"/api/v1/projects/{PROJECT}/preview"
    assert runs.headers["authorization"] == f"Bearer {SECRET_KEY}"
    assert {r.headers["x-trigger-branch"] for r in stub.requests} == {"feature/cart"}


def test_who_may_not_see_the_key_looks_as_themselves(alice: Cli, stub: Stub):
    denied = {"error": "This needs the permission keys:read", "code": "forbidden"}
    stub.script(Answer(status=403, body=denied))
    assert alice("runs", "list", "--env", "prod").code == 0
    _, runs = stub.requests
    assert runs.headers["authorization"] == f"Bearer {ACCESS_TOKEN}"
    assert runs.headers["x-holdfast-project"] == PROJECT
    assert runs.headers["x-holdfast-environment"] == "prod"


def test_a_worker_serves_no_branch(alice: Cli, stub: Stub):
    done = alice("worker", "--version", "1", "--branch", "main")
    assert (done.code, "leave --branch out" in done.err) == (2, True)
    assert stub.requests == []


def test_a_limit_of_one_key_is_overridden_for_a_while_and_reset(cli: Cli, stub: Stub):
    limit = {
        "name": "mails",
        "concurrencyKey": "customer-7",
        "perKey": {"current": 1, "base": 5, "override": 1, "expiresAt": AT},
        "running": 0,
        "paused": False,
    }
    stub.script(Answer(body=limit), Answer(body=limit))
    words = ("--key", "customer-7")
    assert cli("queues", "override", "mails", "1", *words, "--for", "12h").code == 0
    assert "customer-7" in cli("queues", "reset", "mails", *words).out
    override, reset = stub.requests
    assert override.path == "/api/v1/concurrency-limits/mails/override"
    assert override.json == {"concurrencyKey": "customer-7", "perKey": 1, "ttl": "12h"}
    assert (reset.path, reset.json) == (
        "/api/v1/concurrency-limits/mails/reset", {"concurrencyKey": "customer-7"},
    )  # fmt: skip
    assert cli("queues", "override", "mails", "--total", "3", *words).code == 2
    assert cli("queues", "override", "mails", "3", "--for", "1h").code == 2


def test_a_deployment_is_shown_and_canceled(cli: Cli, stub: Stub):
    shown = {"id": "deployment_1", "status": "BUILDING", "error": {"message": "not yet"}}
    stub.script(Answer(body=shown), Answer(body={"id": "deployment_1"}))
    assert "not yet" in cli("deployments", "show", "deployment_1").out
    assert cli("deployments", "cancel", "deployment_1").code == 0
    assert stub.requests[-1].path == "/api/v1/deployments/deployment_1/cancel"
