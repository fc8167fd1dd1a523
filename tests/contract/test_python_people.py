"""Our own command line against a live server: organizations, people, keys, branches, tokens."""

from __future__ import annotations

import json

import pytest

from holdfast.cli.app import run as command
from tests import factories


@pytest.fixture
def tenant(web):
    return factories.acme()


@pytest.fixture
def holdfast(web, tenant, monkeypatch, capsys, tmp_path):
    """Runs alice's command line; its exit code and what it printed, as JSON."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOLDFAST_API_URL", web.url)
    monkeypatch.setenv("HOLDFAST_ACCESS_TOKEN", factories.personal_token(tenant.owner))
    monkeypatch.setenv("HOLDFAST_PROJECT", tenant.project.ref)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))

    def run(*arguments: str):
        code = command([*arguments, "--json"])
        captured = capsys.readouterr()
        return code, json.loads(captured.out) if captured.out.strip() else captured.err

    return run


def test_an_organization_and_a_project_through_their_lives(holdfast):
    code, made = holdfast("orgs", "create", "Initech", "--project-name", "Reports")
    assert (code, made["name"], made["organization"]["slug"]) == (0, "Reports", "initech")
    assert [o["slug"] for o in holdfast("orgs", "list")[1]] == ["acme", "initech"]
    assert holdfast("orgs", "rename", "initech", "Initech Inc")[1]["title"] == "Initech Inc"
    assert holdfast("orgs", "show", "initech")[1]["role"] == "owner"
    assert holdfast("orgs", "leave", "initech", "--yes")[0] == 5
    code, project = holdfast("projects", "create", "Depot", "--org", "initech")
    where = ("--project", project["externalRef"])
    assert holdfast("projects", "rename", "Warehouse", *where)[1]["name"] == "Warehouse"
    assert holdfast("projects", "show", *where)[1]["slug"] == "depot"
    listed = holdfast("projects", "list", "--org", "initech")[1]
    assert [each["name"] for each in listed] == ["Reports", "Warehouse"]
    assert holdfast("projects", "delete", "--yes", *where)[0] == 0
    assert holdfast("projects", "show", *where)[0] == 4
    assert holdfast("orgs", "delete", "initech", "--yes")[0] == 0
    assert holdfast("orgs", "show", "initech")[0] == 4
    assert len(holdfast("projects", "list")[1]) == 1


def test_keys_limits_and_branches_of_an_environment(holdfast, tenant):
    prod = ("--env", "prod")
    made = holdfast("keys", "create", "ci", "--expires-in", "30d", *prod)[1]
    assert made["apiKey"].startswith("tr_prod_")
    assert holdfast("keys", "rotate", "--yes", *prod)[1]["apiKey"] != tenant.secret
    listed = holdfast("keys", "list", *prod)[1]
    assert [key["name"] for key in listed] == ["", "", "ci"]
    assert holdfast("keys", "revoke", listed[0]["id"], "--yes", *prod)[0] == 5
    assert holdfast("keys", "revoke", "ci", "--yes", *prod)[0] == 0
    assert holdfast("environments", "limit", "7", *prod)[1]["concurrencyLimit"] == 7
    assert holdfast("environments", "limit", "--weight", "3", *prod)[1]["weight"] == 3
    assert holdfast("environments", "limit", *prod)[0] == 2
    assert holdfast("environments", "concurrency", *prod)[1]["base"] == 7
    assert holdfast("environments", "pause", *prod)[1] == {"environment": "prod", "paused": True}
    states = {e["slug"]: e["paused"] for e in holdfast("environments", "list")[1]}
    assert states == {"prod": True, "staging": False, "preview": False, "dev": False}
    assert holdfast("environments", "resume", *prod)[1]["paused"] is False
    assert holdfast("branches", "create", "feature/cart")[1]["branch"] == "feature/cart"
    assert [b["branch"] for b in holdfast("branches", "list")[1]] == ["feature/cart"]
    assert holdfast("env", "set", "A=1", "--branch", "feature/cart")[0] == 0
    assert holdfast("env", "list", "--env", "preview")[1] == []
    assert len(holdfast("env", "list", "--branch", "feature/cart")[1]) == 1
    assert holdfast("branches", "archive", "feature/cart", "--yes")[0] == 0
    assert holdfast("env", "list", "--branch", "feature/cart")[0] == 4


def test_an_account_its_tokens_and_its_browsers(holdfast):
    assert holdfast("account", "rename", "Alice A.")[1]["name"] == "Alice A."
    made = holdfast("access-tokens", "create", "ci", "--expires-in", "30d")[1]
    assert made["token"].startswith("tr_pat_")
    assert [t["name"] for t in holdfast("access-tokens", "list")[1]] == ["ci", "laptop"]
    assert holdfast("access-tokens", "revoke", made["id"])[0] == 0
    assert holdfast("access-tokens", "create", "ci", "--expires-in", "soon")[0] == 5
    assert holdfast("sessions", "list")[1] == []
    assert holdfast("sessions", "end", "--all", "--yes")[1] == {"ended": 0}
    assert holdfast("sessions", "end", "7")[0] == 4
    assert holdfast("sessions", "end")[0] == 2
