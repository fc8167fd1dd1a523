"""``python -m holdfast.index``, as the server and `holdfast dev` run it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TASK = "from holdfast import task\n@task(id='{id}')\nasync def work(n: int) -> int:\n    return n\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "holdfast.toml").write_text('[project]\nref = "proj_1"\n')
    (tmp_path / "tasks").mkdir()
    return tmp_path


def index(root: Path) -> tuple[int, Any, str]:
    done = subprocess.run(
        [sys.executable, "-m", "holdfast.index"], cwd=root, capture_output=True, text=True
    )
    return done.returncode, json.loads(done.stdout), done.stderr


def test_the_manifest_is_printed(root: Path):
    (root / "tasks" / "one.py").write_text(TASK.format(id="one"))
    code, manifest, _ = index(root)
    assert code == 0
    assert [task["id"] for task in manifest["tasks"]] == ["one"]
    assert manifest["tasks"][0]["filePath"] == "tasks/one.py"
    assert manifest["tasks"][0]["payloadSchema"] == {"type": "integer"}
    assert len(manifest["contentHash"]) == 64


def test_what_modules_print_is_kept_apart(root: Path):
    noise = "print('hello')\nimport os\nos.system('echo from a child')\n"
    (root / "tasks" / "one.py").write_text(noise + TASK.format(id="one"))
    code, _, printed = index(root)
    assert code == 0
    assert "hello" in printed
    assert "from a child" in printed


def test_an_import_error_brings_its_traceback(root: Path):
    (root / "tasks" / "one.py").write_text("import nowhere_to_be_found\n")
    code, answer, _ = index(root)
    assert code == 1
    assert answer["error"]["name"] == "ModuleNotFoundError"
    assert answer["error"]["message"] == "No module named 'nowhere_to_be_found'"
    assert "tasks/one.py" in answer["error"]["traceback"]
    assert "holdfast/project.py" not in answer["error"]["traceback"]
    assert "importlib" not in answer["error"]["traceback"]


def test_a_syntax_error_shows_the_line(root: Path):
    (root / "tasks" / "one.py").write_text("def broken(:\n")
    _, answer, _ = index(root)
    assert "def broken(:" in answer["error"]["traceback"]


def test_two_tasks_of_one_id_name_both_files(root: Path):
    (root / "tasks" / "one.py").write_text(TASK.format(id="same"))
    (root / "tasks" / "two.py").write_text(TASK.format(id="same"))
    code, answer, _ = index(root)
    assert code == 1
    assert "'same'" in answer["error"]["message"]
    assert "tasks/one.py" in answer["error"]["message"]
    assert "tasks/two.py" in answer["error"]["message"]


def test_a_module_that_exits_is_an_error(root: Path):
    (root / "tasks" / "one.py").write_text("import sys\nsys.exit(0)\n")
    code, answer, _ = index(root)
    assert code == 1
    assert "sys.exit(0)" in answer["error"]["message"]


def test_a_thread_that_never_ends_does_not_hold_it_open(root: Path):
    endless = "import threading\nthreading.Thread(target=threading.Event().wait).start()\n"
    (root / "tasks" / "one.py").write_text(endless + TASK.format(id="one"))
    assert index(root)[0] == 0


def test_a_wrong_project_file_is_one_sentence(root: Path):
    (root / "holdfast.toml").write_text("[project]\nrefs = 1\n")
    code, answer, _ = index(root)
    assert code == 1
    assert answer["error"]["name"] == "ProjectError"
    assert "project.refs" in answer["error"]["message"]
    assert answer["error"]["traceback"] == ""
