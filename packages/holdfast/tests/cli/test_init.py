"""Making a project."""

from __future__ import annotations

import subprocess
import sys

from holdfast import project
from packages.holdfast.tests.cli.conftest import Cli


def test_a_project_is_made_that_can_be_imported(stranger: Cli):
    assert stranger("init", "--project", "proj_1").code == 0
    assert project.load(stranger.folder).ref == "proj_1"
    indexed = subprocess.run(
        [sys.executable, "-m", "holdfast.index"], cwd=stranger.folder, capture_output=True
    )
    assert indexed.returncode == 0
    assert b'"id": "hello"' in indexed.stdout


def test_another_folder_and_directory_may_be_named(stranger: Cli):
    done = stranger("init", "new", "--dir", "jobs", "--project", "proj_1", "--json")
    assert done.json["files"] == ["new/holdfast.toml", "new/jobs/hello.py"]
    assert project.load(stranger.folder / "new").dirs == ("jobs",)


def test_what_is_there_is_kept(stranger: Cli):
    (stranger.folder / "tasks").mkdir()
    (stranger.folder / "tasks" / "mine.py").touch()
    assert stranger("init", "--project", "proj_1").code == 0
    assert not (stranger.folder / "tasks" / "hello.py").exists()
    done = stranger("init", "--project", "proj_2")
    assert done.code == 8
    assert "--force" in done.err
    assert stranger("init", "--project", "proj_2", "--force").code == 0
    assert project.load(stranger.folder).ref == "proj_2"


def test_without_a_terminal_nothing_is_asked(stranger: Cli):
    done = stranger("init")
    assert done.code == 2
    assert "--project" in done.err
