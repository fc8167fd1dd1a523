"""Signing in and out, and choosing between servers."""

from __future__ import annotations

import json
import stat

from packages.holdfast.tests.cli.conftest import Cli
from packages.holdfast.tests.client.stub import ACCESS_TOKEN, Stub


def test_login_with_a_token_is_remembered_for_its_owner_only(stranger: Cli, stub: Stub):
    done = stranger("login", "--token", ACCESS_TOKEN, "--json")
    assert done.code == 0, done.err
    assert done.json["email"] == "alice@example.com"
    assert json.loads(stranger.config.read_text()) == {
        "version": 1,
        "currentProfile": "default",
        "profiles": {"default": {"apiUrl": stub.url, "accessToken": ACCESS_TOKEN}},
    }
    assert stat.S_IMODE(stranger.config.stat().st_mode) == 0o600


def test_login_reads_the_token_from_stdin(stranger: Cli):
    assert stranger("login", "--token", "-", stdin=f"{ACCESS_TOKEN}\n").code == 0
    assert "alice@example.com" in stranger("whoami").out


def test_a_wrong_token_is_not_remembered(stranger: Cli):
    done = stranger("login", "--token", "tr_pat_wrong")
    assert done.code == 3
    assert done.err == "error: Invalid or Missing API key\n"
    assert not stranger.config.exists()


def test_device_login_shows_the_address_and_waits_for_approval(stranger: Cli, stub: Stub):
    done = stranger("login", "--no-browser")
    assert done.code == 0, done.err
    assert f"{stub.url}/account/code" in done.err
    assert stub.polls == 2
    assert ACCESS_TOKEN in stranger.config.read_text()


def test_logout_forgets_the_profile(stranger: Cli):
    stranger("login", "--token", ACCESS_TOKEN)
    assert stranger("logout").code == 0
    assert stranger("whoami").code == 3


def test_whoami_without_a_login_says_what_to_do(stranger: Cli, stub: Stub):
    done = stranger("whoami")
    assert done.code == 3
    assert done.out == ""
    assert done.err.count("\n") == 1
    assert "holdfast login" in done.err
    assert stub.requests == []


def test_profiles_keep_several_servers_apart(stranger: Cli, stub: Stub):
    del stranger.variables["HOLDFAST_API_URL"]
    stranger("login", "--api-url", stub.url, "--token", ACCESS_TOKEN)
    other = stub.url.replace("127.0.0.1", "localhost")
    done = stranger("login", "--profile", "work", "--api-url", other, "--token", ACCESS_TOKEN)
    assert done.code == 0, done.err
    listed = stranger("profiles", "--json").json
    assert [(p["name"], p["apiUrl"], p["isCurrent"]) for p in listed] == [
        ("default", stub.url, False),
        ("work", other, True),
    ]
    assert stranger("switch", "default").code == 0
    assert stranger("whoami", "--json").json["apiUrl"] == stub.url
    assert stranger("whoami", "--profile", "work", "--json").json["apiUrl"] == other


def test_a_named_profile_wins_over_the_variables(stranger: Cli, stub: Stub):
    stranger("login", "--token", ACCESS_TOKEN)
    stranger.variables["HOLDFAST_API_URL"] = "http://127.0.0.1:9"
    stranger.variables["HOLDFAST_ACCESS_TOKEN"] = "tr_pat_other"
    done = stranger("whoami", "--profile", "default", "--json")
    assert done.json["apiUrl"] == stub.url


def test_a_token_is_not_sent_to_another_server(stranger: Cli, stub: Stub):
    stranger("login", "--token", ACCESS_TOKEN)
    other = stub.url.replace("127.0.0.1", "localhost")
    seen = len(stub.requests)
    done = stranger("whoami", "--api-url", other)
    assert done.code == 3
    assert "Not signed in" in done.err
    assert len(stub.requests) == seen


def test_an_unknown_profile_is_named(stranger: Cli):
    done = stranger("whoami", "--profile", "nowhere")
    assert done.code == 2
    assert "nowhere" in done.err
    assert stranger("switch", "nowhere").code == 2


def test_a_broken_file_says_where_it_is(stranger: Cli):
    stranger.config.parent.mkdir(parents=True)
    stranger.config.write_text("{")
    done = stranger("whoami")
    assert done.code == 2
    assert str(stranger.config) in done.err
