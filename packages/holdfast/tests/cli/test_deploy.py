"""Shipping a version."""

from __future__ import annotations

import io
import json
import tarfile

import pytest

from holdfast.cli import deploy
from packages.holdfast.tests.cli.conftest import Cli
from packages.holdfast.tests.client.stub import PROJECT, Stub


def names(archive: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return tar.getnames()


def test_a_project_is_packed_sent_and_promoted(alice: Cli, stub: Stub):
    done = alice("deploy")
    assert done.code == 0, done.err
    assert stub.requests[0].path == f"/api/v1/projects/{PROJECT}/prod"
    assert "tasks/hello.py" in names(stub.deployment["archive"])
    assert stub.of("POST", "/finalize$")[0].json == {"promote": True}
    assert "deployed    20261124.1" in done.out
    assert "Installing requirements" in done.err
    created = stub.of("POST", "/deployments$")[0].json
    assert len(created["contentHash"]) == 64
    assert created["pythonVersion"].startswith("3.")


def test_promotion_can_be_skipped_and_made_up_for(alice: Cli, stub: Stub):
    done = alice("deploy", "--env", "staging", "--skip-promotion")
    assert stub.of("POST", "/finalize$")[0].json == {"promote": False}
    assert "holdfast promote 20261124.1" in done.err
    assert alice("promote", "20261124.1", "--env", "staging").code == 0
    assert stub.requests[-1].path == "/api/v1/deployments/20261124.1/promote"


def test_a_failing_import_shows_its_traceback(alice: Cli, stub: Stub):
    trace = 'Traceback (most recent call last):\n  File "tasks/a.py", line 1\nImportError: x\n'
    error = {"message": "The tasks cannot be imported", "traceback": trace}
    stub.deployment_end = {"status": "FAILED", "error": error}
    done = alice("deploy")
    assert done.code == 1
    assert trace in done.err
    assert done.err.endswith("error: The deployment is FAILED: The tasks cannot be imported\n")
    assert done.out == ""


def test_a_traceback_that_the_log_has_shown_is_not_shown_twice(alice: Cli, stub: Stub):
    error = {"message": "no", "traceback": "Traceback: here\n"}
    log = "Installing requirements\nTraceback: here\n"
    stub.deployment_end = {"status": "FAILED", "error": error, "log": log}
    assert alice("deploy").err.count("Traceback: here") == 1


def test_a_failing_import_is_there_for_scripts_too(alice: Cli, stub: Stub):
    stub.deployment_end = {"status": "FAILED", "error": {"message": "no", "traceback": "here"}}
    done = alice("deploy", "--json")
    assert done.code == 1
    assert done.json["error"] == {"message": "no", "traceback": "here"}
    assert json.loads(done.err) == {"error": "The deployment is FAILED: no", "exitCode": 1}


@pytest.mark.parametrize(
    ("before", "now", "added"),
    [
        ("", "one\n", "one\n"),
        ("one\n", "one\ntwo\n", "two\n"),
        ("x" * 300 + "\n", "x" * 299 + "\ntwo\n", "two\n"),
        ("one\n", "quite another\n", "quite another\n"),
    ],
)
def test_a_log_that_slides_shows_only_what_is_new(before: str, now: str, added: str):
    assert deploy._added(before, now) == added


def test_a_dry_run_sends_nothing(alice: Cli, stub: Stub):
    (alice.folder / "requirements.txt").write_text("httpx\n")
    done = alice("deploy", "--dry-run", "--json")
    assert done.code == 0, done.err
    assert done.json["requirements"] == "requirements.txt"
    assert "tasks/hello.py" in done.json["files"]
    assert stub.requests == []
    assert "  tasks/hello.py" in alice("deploy", "--dry-run").out.splitlines()


def test_a_deployment_that_takes_too_long_is_exit_code_1(alice: Cli, stub: Stub):
    stub.deployment_end = {"status": "BUILDING"}
    done = alice("deploy", "--timeout", "0.1")
    assert done.code == 1
    assert "BUILDING" in done.err


def test_json_prints_the_deployment_and_nothing_else(alice: Cli):
    done = alice("deploy", "--json")
    assert done.json["version"] == "20261124.1"
    assert done.err == ""


def test_a_link_out_of_the_project_is_exit_code_8(alice: Cli, stub: Stub):
    (alice.folder / "tasks" / "link").symlink_to("/etc/passwd")
    done = alice("deploy")
    assert done.code == 8
    assert "tasks/link" in done.err
    assert stub.requests == []


def test_a_wrong_project_file_is_exit_code_8(alice: Cli):
    (alice.folder / "holdfast.toml").write_text("[project]\nrefs = 1\n")
    done = alice("deploy")
    assert done.code == 8
    assert "project.refs: there is no such setting" in done.err
    assert done.err.count("\n") == 1


def test_deployments_are_listed(alice: Cli):
    alice("deploy")
    done = alice("deployments")
    assert done.out.splitlines()[1].split()[:2] == ["20261124.1", "DEPLOYED"]
