"""`make demo` as a newcomer runs it, and a report that it must not believe."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from config import demo

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(600)
@pytest.mark.xdist_group("kills")  # both start everything: one after the other
def test_the_demo_ends_by_itself_with_the_right_report():
    kept = {
        name: os.environ[name] for name in ("PATH", "HOME", "SSL_CERT_FILE") if name in os.environ
    }
    with tempfile.TemporaryDirectory(prefix="holdfast-demo-") as home:
        Path(home).chmod(0o755)  # PostgreSQL runs as another user below root
        done = subprocess.run(
            [sys.executable, "manage.py", "demo", "--once"],
            cwd=ROOT,
            env={**kept, "HOLDFAST_HOME": home},
            capture_output=True,
            text=True,
            check=False,
        )
        left = subprocess.run(["pgrep", "-f", home], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The report is right" in done.stdout
    assert "tampered" in done.stdout
    assert left.stdout == ""


@dataclass
class Client:
    """A client whose runs have as many children as they should."""

    children: int
    runs: Any = field(init=False)

    def __post_init__(self) -> None:
        related = SimpleNamespace(children=[None] * self.children)
        self.runs = SimpleNamespace(retrieve=lambda _: SimpleNamespace(related_runs=related))


def finished(**changes: Any) -> Any:
    installed = demo.recorded()
    report = {
        "distributions": len(installed) + 1,
        "files": sum(len(lines) for _, lines in installed.values()),
        "findings": [{"distribution": "x (tampered)", "error": "x: y.py"}],
    }
    return SimpleNamespace(id="run_x", status="COMPLETED", error=None, output=report | changes)


def client() -> Any:
    return Client(children=min(100, len(demo.recorded()) + 1))


def test_a_right_report_is_believed():
    demo.check(client(), finished())


@pytest.mark.parametrize(
    "changes",
    [
        {"distributions": 1},
        {"files": 7},
        {"findings": []},
        {
            "findings": [
                {"distribution": "x (tampered)", "error": "x: y.py"},
                {"distribution": "pip", "error": "pip: pip/__init__.py"},
            ]
        },
    ],
)
def test_a_wrong_report_fails_the_demo(changes):
    with pytest.raises(demo.DemoFailed, match="not right"):
        demo.check(client(), finished(**changes))


def test_a_run_that_failed_fails_the_demo():
    run = finished()
    run.status = "CRASHED"
    with pytest.raises(demo.DemoFailed, match="CRASHED"):
        demo.check(client(), run)
