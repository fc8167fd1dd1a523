"""The shipped command line against a live server: a developer's day."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from apps.core import clock
from apps.deployments.models import Deployment
from apps.deployments.operations.building import index_deployment
from tests import factories
from tests.scenario.conftest import eventually

TASK = """\
from holdfast import logger, task

@task(id="greet", retry=1)
async def greet(name: str) -> str:
    logger.info("greeting", name=name)
    if name == "charlie":
        raise ValueError("no charlie here")
    return f"hello {name}"
"""


class Terminal:
    """Alice's terminal, in a project of hers."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.tenant = factories.acme()
        self.running: list[subprocess.Popen[str]] = []
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("HOLDFAST_")}
        self.variables = inherited | {"XDG_CONFIG_HOME": str(folder / "config")}

    def __call__(self, *arguments: str, code: int = 0) -> Any:
        """The JSON of a command that must end with this code."""
        process = self.start(*arguments, "--json")
        out, err = process.communicate(timeout=120)
        assert process.returncode == code, err
        return json.loads(out) if out else json.loads(err)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "holdfast.cli", *arguments],
            cwd=self.folder,
            env=self.variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.running.append(process)
        return process


@pytest.fixture
def terminal(live_process, transactional_db, tmp_path):
    terminal = Terminal(tmp_path, live_process.url)
    token = factories.personal_token(factories.alice())
    terminal("login", "--api-url", live_process.url, "--token", token)
    terminal("init", "--project", terminal.tenant.project.ref)
    (tmp_path / "tasks" / "hello.py").write_text(TASK)
    yield terminal
    for process in terminal.running:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_alice_is_known_and_charlies_project_is_not(terminal):
    assert terminal("whoami")["email"] == "alice@example.com"
    refused = terminal("runs", "list", "--project", factories.globex().project.ref, code=4)
    assert refused["exitCode"] == 4


def test_variables_are_kept_per_environment(terminal):
    terminal("env", "set", "GREETING=hello", "--env", "staging")
    terminal("env", "set", "KEY=s3cret", "--secret", "--env", "staging")
    listed = {v["name"]: v for v in terminal("env", "list", "--env", "staging")}
    assert listed["GREETING"]["value"] == "hello"
    assert listed["KEY"]["isSecret"] is True
    assert "s3cret" not in json.dumps(listed)
    assert terminal("env", "list", "--env", "dev") == []
    terminal("env", "unset", "GREETING", "--env", "staging")
    assert terminal("env", "unset", "GREETING", "--env", "staging", code=4)


def test_a_task_is_developed(terminal):
    dev = terminal.start("dev", "--json")
    assert dev.stdout is not None
    assert eventually(lambda: '"ready"' in dev.stdout.readline())
    run = terminal("trigger", "greet", "--payload", '"alice"', "--tag", "mine", "--wait")
    assert (run["status"], run["output"], run["tags"]) == ("COMPLETED", "hello alice", ["mine"])
    failed = terminal("trigger", "greet", "--payload", '"charlie"', "--wait", code=1)
    assert failed["status"] == "FAILED"
    assert "no charlie here" in failed["error"]["message"]
    assert [r["id"] for r in terminal("runs", "list", "--status", "COMPLETED")] == [run["id"]]
    assert terminal("runs", "show", run["id"])["output"] == "hello alice"
    delayed = terminal("trigger", "greet", "--payload", '"bob"', "--delay", "1h")
    terminal("runs", "cancel", delayed["id"])
    assert terminal("runs", "show", delayed["id"])["status"] == "CANCELED"
    again = terminal("runs", "replay", run["id"])[0]
    ended = eventually(lambda: terminal("runs", "show", again["id"])["status"] == "COMPLETED")
    assert ended
    dev.send_signal(signal.SIGINT)
    assert dev.wait(timeout=60) == 0


def build() -> Any:
    """Do what the platform's queue does, in this process."""
    deployment = eventually(lambda: Deployment.objects.filter(status="BUILDING").first())
    index_deployment(deployment_id=deployment.id, clock=clock.now)


def test_a_project_is_deployed_and_promoted(terminal):
    deploy = terminal.start("deploy", "--json", "--skip-promotion")
    build()
    out, err = deploy.communicate(timeout=120)
    assert deploy.returncode == 0, err
    deployed = json.loads(out)
    assert [task["id"] for task in deployed["tasks"]] == ["greet"]
    assert not terminal("deployments")[0].get("isCurrent")
    terminal("promote", deployed["version"])
    (listed,) = terminal("deployments")
    assert (listed["version"], listed["isCurrent"]) == (deployed["version"], True)


def test_a_deploy_that_fails_to_import_shows_the_traceback(terminal):
    (terminal.folder / "tasks" / "hello.py").write_text("import nowhere_to_be_found\n")
    deploy = terminal.start("deploy")
    build()
    out, err = deploy.communicate(timeout=120)
    assert (deploy.returncode, out) == (1, "")
    assert 'tasks/hello.py", line 1' in err
    assert err.count("Traceback (most recent call last)") == 1
    assert err.splitlines()[-1].startswith("error: The deployment is FAILED")
