"""The worker and the client of a former release go on against this server: `make upgrade`.

HOLDFAST_TEST_FORMER names a commit or tag. Its SDK is built and installed as customers have it, and
its own scenario project is indexed, executed and called with that, in processes of their own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from apps.core import clock
from apps.deployments.operations.versions import promote_version, register_version
from apps.runs.queries import invariant_violations
from tests import factories
from tests.scenario.conftest import running_engine

FORMER = os.environ.get("HOLDFAST_TEST_FORMER", "")
ROOT = Path(__file__).resolve().parent.parent.parent

pytestmark = [
    pytest.mark.skipif(not FORMER, reason="HOLDFAST_TEST_FORMER names no former commit"),
    pytest.mark.timeout(600),
    pytest.mark.django_db(transaction=True),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Former:
    """An SDK that is installed by itself, the project that was written for it, and a server."""

    sdk: Path
    project: Path
    environ: dict[str, str]

    def python(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.project, env=self.environ, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    """The former SDK in `sdk`, and its project in `project`."""
    folder: Path = tmp_path_factory.mktemp("former")
    _unpack("packages/holdfast", folder / "source")
    _unpack("tests/scenario/project", folder / "project")
    _call(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder),
          cwd=folder / "source")  # fmt: skip
    (wheel,) = folder.glob("*.whl")
    uv = Path(sys.executable).with_name("uv")
    _call(str(uv), "pip", "install", "--quiet", "--offline", "--no-deps", "--python",
          sys.executable, "--target", str(folder / "sdk"), str(wheel), cwd=folder)  # fmt: skip
    return folder


def _unpack(path: str, folder: Path) -> None:
    archive = subprocess.run(
        ["git", "archive", f"{FORMER}:{path}"], cwd=ROOT, capture_output=True, check=True
    )
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as packed:
        packed.extractall(folder, filter="data")


def _call(*command: str, cwd: Path) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def former(release, live_process, transactional_db, tmp_path) -> Iterator[Former]:
    """Its project is the current version, and its worker is connected."""
    tenant = factories.acme()
    former = Former(
        sdk=release / "sdk",
        project=release / "project",
        environ=os.environ
        | {
            "PYTHONPATH": str(release / "sdk"),
            "HOLDFAST_API_URL": live_process.url,
            "HOLDFAST_SECRET_KEY": tenant.secret,
        },
    )
    manifest = json.loads(former.python("-m", "holdfast.index"))
    version = register_version(tenant.scope, manifest=manifest, now=clock.now())
    promote_version(tenant.scope, number=version.number, now=clock.now())
    former.environ["HOLDFAST_VERSION"] = version.number
    with (tmp_path / "worker.log").open("wb") as log, running_engine():
        worker = subprocess.Popen(
            [sys.executable, "-m", "holdfast.worker", "--root", str(former.project)],
            env=former.environ, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            yield former
            assert worker.poll() is None, (tmp_path / "worker.log").read_text()
        finally:
            worker.kill()
            worker.wait()


def test_a_former_worker_and_client_go_on_with_this_server(former, tmp_path):
    done = tmp_path / "done.txt"
    done.touch()
    program = Path(__file__).with_name("former_calls.py")
    told: dict[str, Any] = json.loads(former.python(str(program), str(done)))

    assert Path(told["sdk"]).is_relative_to(former.sdk), "this was another SDK"
    assert told["runs"] == {
        "cached": True,
        "outputs": {"parent": 6, "flaky": 2, "nap": "rested"},
        "hello": ["COMPLETED", "hello alice", "hello alice"],
        "durable": "hello alice",
        "canceled": "CANCELED",
        "listed": True,
        "journal": ["step", "now"],
    }
    assert told["batch"] == [0, 2, 4]
    assert told["token"] == {"status": "COMPLETED", "output": {"yes": 1}, "listed": True}
    assert told["schedule"] == ["ask_any", "0 5 * * *", False, True]
    assert done.read_text().split() == ["first", "last"]
    assert invariant_violations(now=clock.now()) == []
