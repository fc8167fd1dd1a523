"""Environment variables from the terminal."""

from __future__ import annotations

import stat

import pytest

from packages.holdfast.tests.cli.conftest import Cli
from packages.holdfast.tests.client.stub import PROJECT, Stub


def test_variables_are_set_listed_and_unset(alice: Cli, stub: Stub):
    assert alice("env", "set", "A=1", "B=two=2", "--env", "prod").code == 0
    assert stub.requests[-1].path == f"/api/v1/projects/{PROJECT}/envvars/prod/import"
    assert stub.requests[-1].json["override"] is True
    assert alice("env", "list").out.splitlines()[1:] == ["A     1", "B     two=2"]
    assert alice("env", "unset", "A").code == 0
    assert [v["name"] for v in alice("env", "list", "--json").json] == ["B"]


def test_a_secret_comes_from_stdin_and_is_not_shown(alice: Cli, stub: Stub):
    assert alice("env", "set", "KEY", "--secret", stdin="s3cret\n").code == 0
    assert stub.variables["KEY"] == {"name": "KEY", "value": "s3cret", "isSecret": True}
    done = alice("env", "list")
    assert "(secret)" in done.out
    assert "s3cret" not in done.out


def test_removing_what_is_not_there_is_exit_code_4(alice: Cli):
    assert alice("env", "unset", "NONE").code == 4


@pytest.mark.parametrize("name", ["1A", "A-B", ""])
def test_a_name_that_is_none_is_a_usage_error(alice: Cli, stub: Stub, name: str):
    assert alice("env", "set", f"{name}=1").code == 2
    assert stub.requests == []


def test_pull_writes_a_file_that_a_shell_understands(alice: Cli):
    alice("env", "set", "A=1", 'B=say "hi"\nthere', "C=")
    alice("env", "set", "S=x", "--secret")
    assert alice("env", "pull").code == 0
    path = alice.folder / ".env"
    assert path.read_text() == 'A=1\nB="say \\"hi\\"\\nthere"\nC=\n# S= (secret)\n'
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_pull_does_not_replace_a_file_unless_forced(alice: Cli):
    (alice.folder / ".env").write_text("mine")
    assert alice("env", "pull").code == 5
    assert (alice.folder / ".env").read_text() == "mine"
    assert alice("env", "pull", "--force").code == 0
    assert (alice.folder / ".env").read_text() == ""


def test_a_key_knows_its_environment(cli: Cli, stub: Stub):
    cli.project()
    assert cli("env", "list").code == 0
    assert stub.requests[0].path == f"/api/v1/projects/{PROJECT}/envvars/dev"
