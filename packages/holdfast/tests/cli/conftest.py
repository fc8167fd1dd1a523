"""The real command in a process of its own, against the stub server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from packages.holdfast.tests.client import stub as stubs

TASK = """\
from holdfast import task

@task(id="{id}")
async def work(n: int) -> int:
    return n
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Cli:
    """Runs `holdfast` in a folder with an environment of its own."""

    def __init__(self, folder: Path, stub: stubs.Stub) -> None:
        self.folder = folder
        self.stub = stub
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("HOLDFAST_")}
        self.variables = inherited | {
            "XDG_CONFIG_HOME": str(folder / "config"),
            "HOLDFAST_API_URL": stub.url,
            "PYTHONWARNINGS": "error",
        }

    def __call__(self, *arguments: str, stdin: str = "", cwd: Path | None = None) -> Done:
        done = subprocess.run(
            self.command(*arguments),
            input=stdin,
            cwd=cwd or self.folder,
            env=self.variables,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return Done(code=done.returncode, out=done.stdout, err=done.stderr)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "holdfast.cli", *arguments]

    @property
    def config(self) -> Path:
        return self.folder / "config" / "holdfast" / "config.json"

    def project(self, **tasks: str) -> Path:
        """Make the folder a project with these task files."""
        (self.folder / "holdfast.toml").write_text(f'[project]\nref = "{stubs.PROJECT}"\n')
        (self.folder / "tasks").mkdir(exist_ok=True)
        for name, text in (tasks or {"hello": TASK.format(id="hello")}).items():
            (self.folder / "tasks" / f"{name}.py").write_text(text)
        return self.folder


@pytest.fixture
def stub() -> Iterator[stubs.Stub]:
    with stubs.serve() as stub:
        yield stub


@pytest.fixture
def stranger(tmp_path: Path, stub: stubs.Stub) -> Cli:
    """Somebody without any credentials."""
    return Cli(tmp_path, stub)


@pytest.fixture
def cli(stranger: Cli) -> Cli:
    """A program with the key of the development environment."""
    stranger.variables["HOLDFAST_SECRET_KEY"] = stubs.SECRET_KEY
    return stranger


@pytest.fixture
def alice(stranger: Cli) -> Cli:
    """Alice, who is signed in and works in a project."""
    stranger.variables["HOLDFAST_ACCESS_TOKEN"] = stubs.ACCESS_TOKEN
    stranger.project()
    return stranger
